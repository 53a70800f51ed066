"""Many small networks in the lanes of one core's vector registers. ``kernels`` says how."""
