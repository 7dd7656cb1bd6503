"""Runs one verb of boto3: python3 boto3-verbs.py VERB ARGUMENT..."""
import os
import sys

import boto3
from botocore.config import Config

verb, *args = sys.argv[1:]
if verb == "check":
    sys.exit(0)
# With another endpoint than AWS's it would presign with version 2.
client = boto3.client("s3", endpoint_url=os.environ["S3_URL"], config=Config(signature_version="s3v4"))


def keys(bucket, prefix=""):
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", []):
            yield found["Key"]


def upload(folder, bucket):
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            client.upload_file(path, bucket, "tree/" + os.path.relpath(path, folder))


def download(bucket, folder):
    for key in keys(bucket, "tree/"):
        path = os.path.join(folder, key[len("tree/") :])
        os.makedirs(os.path.dirname(path), exist_ok=True)
        client.download_file(bucket, key, path)


def get_range(bucket, key, first, last, file):
    body = client.get_object(Bucket=bucket, Key=key, Range=f"bytes={first}-{last}")["Body"]
    with open(file, "wb") as target:
        target.write(body.read())


def presigned(method):
    return lambda bucket, key: print(client.generate_presigned_url(method, Params={"Bucket": bucket, "Key": key}))


VERBS = {
    "makeBucket": lambda bucket: client.create_bucket(Bucket=bucket),
    "put": lambda file, bucket, key: client.upload_file(file, bucket, key),
    "get": lambda bucket, key, file: client.download_file(bucket, key, file),
    "range": get_range,
    "count": lambda bucket: print(sum(1 for _ in keys(bucket))),
    "upload": upload,
    "download": download,
    "copy": lambda bucket, source, to: client.copy({"Bucket": bucket, "Key": source}, bucket, to),
    "remove": lambda bucket, key: client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]}),
    "presignedGet": presigned("get_object"),
    "presignedPut": presigned("put_object"),
}
VERBS[verb](*args)
