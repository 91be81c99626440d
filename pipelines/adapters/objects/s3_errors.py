"""What went wrong in S3, as one line that holds no secret, or as a word that code acts on."""

from __future__ import annotations

import re

from pipelines.adapters.objects.protocol import Conflict
from pipelines.errors import StoreError

__all__ = ["AbsentError", "EmptyError", "translated"]

_LIST = "s3:ListBucket"
_ACTION = {
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
    "DeleteObject": "s3:DeleteObject",
    "GetObject": "s3:GetObject",
    "HeadObject": "s3:GetObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectsV2": _LIST,
}
_LOST = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_ABSENT = {"NoSuchKey", "404"}
_NO_RANGE = {"InvalidRange", "416"}
_DENIED = {"AccessDenied", "AllAccessDisabled", "Forbidden", "403"}
_CREDENTIALS = {
    "CredentialRetrievalError", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken",
    "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "SignatureDoesNotMatch",
    "SSOTokenLoadError", "TokenRefreshRequired", "UnauthorizedSSOTokenError",
}  # fmt: skip
_ELSEWHERE = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
              "PermanentRedirect", "301"}  # fmt: skip
_UNREACHABLE = re.compile("Endpoint|Connect|Timeout|Proxy|SSL|Streaming|Incomplete|InvalidRegion")


class AbsentError(Exception):
    """There is no such object."""


class EmptyError(Exception):
    """The object has no byte, so that it has no last byte either."""


def translated(error: Exception, where: str, what: str) -> Exception:
    """What to raise instead of botocore's error when ``where`` cannot be ``what``.

    ``AbsentError``, ``EmptyError`` and ``Conflict`` are for the code, ``StoreError`` is for people.
    botocore's own texts are quoted only where the service wrote them: the others may show an
    address with its password, or what a credential process said.
    """
    code, said, operation = _facts(error)
    if code in _LOST:
        return Conflict(f"{where} was changed by another process; run again")
    if code in _ABSENT:
        return AbsentError(where)
    if code in _NO_RANGE:
        return EmptyError(where)
    return StoreError(f"{where} cannot be {what}: {_why(code, said, operation)}")


def _facts(error: Exception) -> tuple[str, str, str]:
    response = getattr(error, "response", None)
    if not isinstance(response, dict):
        return type(error).__name__, "", ""
    answer = response.get("Error", {})
    said = " ".join(str(answer.get("Message", "")).split())[:200]
    return str(answer.get("Code", "")), said, str(getattr(error, "operation_name", ""))


def _why(code: str, said: str, operation: str) -> str:
    if code == "NoSuchBucket":
        return "there is no such bucket; create it, or correct store.path"
    if code in _DENIED:
        action = _ACTION.get(operation, "s3:PutObject")
        key = ", and the use of its key (kms:GenerateDataKey, kms:Decrypt)" if "kms" in said else ""
        # S3 says "not there" only to those who may list; to others it says 403
        also = f", and {_LIST} on the bucket" if action == "s3:GetObject" else ""
        return f"access is denied; the principal needs {action} there{also}{key}"
    if code in _CREDENTIALS:
        return f"the AWS credentials are missing or refused ({code}); check profile, role or keys"
    if code in _ELSEWHERE:
        return f"the bucket is in another region ({code}); set AWS_REGION to it"
    if _UNREACHABLE.search(code):
        return (
            f"the endpoint cannot be reached ({code}); check the network, the region and "
            "AWS_ENDPOINT_URL_S3"
        )
    return f"S3 says {code}{': ' if said else ''}{said}"
