"""What to do about a source that cannot be reached or read: words for the doctor."""

from __future__ import annotations

import re

from pipelines.adapters.aws import AwsParams
from pipelines.errors import AccessDenied, ConfigError, ForetideError, SourceUnreachable

__all__ = ["AMP_DENIED", "DOUBTS", "HTTP_DENIED", "OWN_DOUBT", "remedy_of", "remedy_of_aws"]

HTTP_DENIED = (
    "give credentials that may read: source.headers, source.username with source.password, "
    "source.http.bearer_token_file or, for signed requests, source.aws"
)
AMP_DENIED = (
    "allow that principal aps:QueryMetrics on the workspace (IAM), or sign with other credentials: "
    "source.aws"
)
DOUBTS = {
    "prometheus": "is this the server that scrapes the cluster",
    "cloudwatch": "are source.aws.region and the account the cluster's, does it have Container "
    "Insights",
    "datadog": "do the cluster's agents send to source.datadog.site",
}
"""Kind of source → what to ask oneself where it has nothing."""
OWN_DOUBT = "does the class that source.kind names have such metrics"

_DENIED = {
    "prometheus": HTTP_DENIED,
    "cloudwatch": "allow that principal cloudwatch:ListMetrics and cloudwatch:GetMetricData (IAM), "
    "or choose another one: source.aws",
    "datadog": "correct DD_API_KEY, DD_APP_KEY or source.datadog.site; the application key needs "
    "the scope timeseries_query",
    "files": "allow that principal s3:ListBucket on the bucket and s3:GetObject on its objects "
    "(IAM), or choose another one: source.aws",
}
_UNREACHABLE = {
    "prometheus": "start it, or correct source.url and source.http",
    "cloudwatch": "correct source.aws.region, or let this machine reach it (https_proxy, "
    "AWS_ENDPOINT_URL_CLOUDWATCH for a VPC endpoint)",
    "datadog": "correct source.datadog.site or source.datadog.server_url, or let this machine "
    "reach it (https_proxy)",
    "files": "let this machine reach S3 (https_proxy, AWS_ENDPOINT_URL_S3 for a VPC endpoint)",
}
_OWN = "correct source.options, or the class that source.kind names"
_NO_CREDENTIALS = (
    "set source.aws.profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the pod a "
    "role (IRSA, Pod Identity)"
)
_MISSING = (
    (r"(ca_file|client_cert_file|client_key_file|bearer_token_file) ", r"correct source.http.\1"),
    (r"(AWS region|source\.aws\.region):", "set source.aws.region, or AWS_REGION"),
    (r"no AWS credentials found", _NO_CREDENTIALS),
    (r"Datadog's API key ", "set DD_API_KEY, or source.datadog_api_key"),
    (r"Datadog's application key ", "set DD_APP_KEY, or source.datadog_application_key"),
)
"""How our own messages begin, and what is then to be done."""


def remedy_of(error: ForetideError, kind: str) -> str:
    """What to do about an error of the source."""
    match error:
        case AccessDenied():
            return _DENIED.get(kind, _OWN)
        case SourceUnreachable():
            return _UNREACHABLE.get(kind, _OWN)
        case _:
            pass
    for begins, remedy in _MISSING:
        if found := re.match(begins, str(error)):
            return found.expand(remedy)
    return "correct source.paths" if kind == "files" else "correct section `source` of the settings"


def remedy_of_aws(error: ForetideError, params: AwsParams) -> str:
    """What to do where there are no AWS credentials."""
    if isinstance(error, SourceUnreachable):
        return "let this machine reach who gives them, e.g. STS: source.aws.sts_endpoint_url"
    if isinstance(error, ConfigError) and "region" in str(error):
        return "set source.aws.region, or AWS_REGION"
    if isinstance(error, AccessDenied) and params.role_arn:
        return (
            "allow the principal that assumes it sts:AssumeRole on it, name that principal in the "
            "role's trust policy, and check source.aws.external_id"
        )
    return _NO_CREDENTIALS
