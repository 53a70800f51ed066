#!/usr/bin/env bash
# On a spot machine of AWS: wait for the notice that it will be taken away (about two minutes before), then end Ray's unit. Its SIGTERM makes Ray drain
# the node, and zoo saves the state of what trains there. Not tested on AWS.
set -u
metadata=http://169.254.169.254/latest
while :; do
  token=$(curl -s -m 2 -X PUT "$metadata/api/token" -H 'X-aws-ec2-metadata-token-ttl-seconds: 60')
  code=$(curl -s -m 2 -o /dev/null -w '%{http_code}' -H "X-aws-ec2-metadata-token: $token" "$metadata/meta-data/spot/instance-action")
  if [ "$code" = 200 ]; then
    systemctl stop zoo-ray
    exit 0
  fi
  sleep 5
done
