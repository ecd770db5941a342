"""Make the bucket of the artifact store, unless it is there; any S3-compatible store does."""

from __future__ import annotations

import os
import sys

import boto3
from botocore.exceptions import ClientError


def main() -> None:
    """Make the bucket that MLFLOW_ARTIFACTS_DESTINATION names, with the credentials that boto3 finds."""
    bucket = os.environ["MLFLOW_ARTIFACTS_DESTINATION"].removeprefix("s3://").split("/")[0]
    store = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
    try:
        store.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise  # not ours, or the wrong key
        store.create_bucket(Bucket=bucket)
        print(f"made bucket {bucket}", file=sys.stderr)


if __name__ == "__main__":
    main()
