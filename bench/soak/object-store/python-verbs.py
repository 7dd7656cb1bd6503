"""Runs verbs of boto3, or commands of awscli: python3 python-verbs.py boto3|awscli. Each line of input is a JSON list, each line of
output its result."""
import contextlib
import io
import json
import os
import sys

# awscli has its own botocore, which replaces that of boto3.
if sys.argv[1] == "boto3":
    import boto3
    from botocore.config import Config
else:
    from awscli.clidriver import create_clidriver


def connect(**keys):
    # With an endpoint other than AWS's, it would presign with version 2.
    config = Config(signature_version="s3v4", s3={"addressing_style": os.environ["S3_STYLE"]})
    return boto3.client("s3", endpoint_url=os.environ["S3_URL"], config=config, **keys)


client = connect() if sys.argv[1] == "boto3" else None


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
    return lambda bucket, key: client.generate_presigned_url(method, Params={"Bucket": bucket, "Key": key})


def aws(env, *arguments):
    os.environ.update(env)
    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        status = create_clidriver().main(list(arguments))
    if status != 0:
        raise RuntimeError(f"exit {status}: {errors.getvalue()}")
    return output.getvalue()


VERBS = {
    "aws": aws,
    "makeBucket": lambda bucket: client.create_bucket(Bucket=bucket),
    "put": lambda file, bucket, key: client.upload_file(file, bucket, key),
    "get": lambda bucket, key, file: client.download_file(bucket, key, file),
    "range": get_range,
    "count": lambda bucket: sum(1 for _ in keys(bucket)),
    "upload": upload,
    "download": download,
    "copy": lambda bucket, source, to: client.copy({"Bucket": bucket, "Key": source}, bucket, to),
    "remove": lambda bucket, key: client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]}),
    "presignedGet": presigned("get_object"),
    "presignedPut": presigned("put_object"),
    "wrongKeys": lambda: connect(aws_secret_access_key="wrong", aws_access_key_id="wrong").list_buckets(),
}
for line in sys.stdin:
    verb, *args = json.loads(line)
    try:
        reply = {"result": VERBS[verb](*args)}
    except BaseException as error:  # awscli may exit
        reply = {"failure": f"{type(error).__name__}: {error}"}
    print(json.dumps(reply, default=lambda _: None), flush=True)
