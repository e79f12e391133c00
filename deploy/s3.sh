#!/bin/sh
# Starts SeaweedFS with an S3 gateway whose one identity comes from the environment.
set -eu

umask 077
cat >/tmp/s3.json <<EOF
{"identities": [{
  "name": "loupe",
  "credentials": [{"accessKey": "${S3_ACCESS_KEY}", "secretKey": "${S3_SECRET_KEY}"}],
  "actions": ["Admin", "Read", "List", "Tagging", "Write"]
}]}
EOF
exec weed server -dir=/data -ip=storage -ip.bind=0.0.0.0 -volume.max=0 -master.volumeSizeLimitMB=1024 \
    -s3 -s3.port=8333 -s3.config=/tmp/s3.json
