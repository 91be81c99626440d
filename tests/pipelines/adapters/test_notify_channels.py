"""The channels: what goes out is what the other side takes, whatever names a cluster has."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import httpx
import pandas as pd
import pytest
from botocore.stub import Stubber
from moto import mock_aws
from notify_server import SLACK_PATH, Heard, Listener, as_slack, listening

from pipelines.adapters.notify import Cause, Message, Picture, Trouble
from pipelines.adapters.notify.eventbridge import EventBridgeChannel
from pipelines.adapters.notify.message import in_words
from pipelines.adapters.notify.payload import encoded
from pipelines.adapters.notify.slack import SlackChannel
from pipelines.adapters.notify.sns import SnsChannel
from pipelines.adapters.notify.webhook import WebhookChannel
from pipelines.adapters.notify.wire import Post, PostParams
from pipelines.errors import ConfigError, DeliveryError

NOW = pd.Timestamp("2026-06-01T12:00Z").as_unit("ms")
QUICK = PostParams(retry_wait_s=0.01, retry_wait_max_s=0.05, timeout_s=2)
HOSTILE = (
    "<!channel> @here @channel <@U123> <https://evil|click> *bold* `code` & \x1b[31m\n\u202e"
    "$(rm) ${x} {{y}} '\"\\ " + "x" * 10_000
)


def incident(**changes: Any) -> Trouble:
    usual: dict[str, Any] = {
        "trouble_id": "0123456789abcdef", "what": "incident", "severity": "critical",
        "title": "checkout: error_ratio ×9 from the usual 0.2% to 1.8%",
        "workloads": ("prod/shop/Deployment/checkout",), "started_at": NOW, "detected_at": NOW,
        "causes": (Cause("prod/shop/Deployment/checkout", "error_ratio", "×9", 3.0, 0.8),),
        "score": 3.0,
    }  # fmt: skip
    return Trouble(**usual | changes)


def hostile() -> Trouble:
    cause = Cause(HOSTILE, HOSTILE, HOSTILE, float("inf"), float("nan"))
    return incident(
        title=HOSTILE, workloads=(f"{HOSTILE}/n/D/x",) * 200, causes=(cause,) * 20, note=HOSTILE,
        trouble_id=HOSTILE,
    )  # fmt: skip


def message(*troubles: Trouble, **changes: Any) -> Message:
    news = tuple(("opened", t) for t in troubles)
    usual: dict[str, Any] = {"message_id": "m1", "channel": "ops", "sent_at": NOW, "news": news}
    return Message(**usual | changes)


MESSAGES = {
    "one": message(incident()),
    "closed": message(incident(ended_at=NOW), news=(("closed", incident(ended_at=NOW)),)),
    "hostile": message(hostile()),
    "digest": message(*[incident(trouble_id=str(i)) for i in range(30)]),
    "a hostile digest": message(*[hostile()] * 60),
    "bare": message(incident(workloads=(), causes=(), title="", detected_at=None)),
    "test": Message("t", "ops", NOW, (), is_test=True),
    "picture": message(incident(), picture=Picture("pictures/a.png", b"\x89PNG", "https://p/a")),
    "no url": message(incident(), picture=Picture("/data/pictures/a.png", b"\x89PNG")),
}
each_message = pytest.mark.parametrize("one", MESSAGES.values(), ids=MESSAGES.keys())


@pytest.fixture
def slack() -> Iterator[Listener]:
    with listening(as_slack) as listener:
        yield listener


@pytest.fixture
def hook() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


@each_message
def test_slack_takes_every_message(slack: Listener, one: Message) -> None:
    with Post(slack.slack_url, QUICK) as post:
        SlackChannel(post).send(one)
    assert not slack.refused
    text = slack.taken[0].body.decode()
    assert "<!" not in text
    assert "<@" not in text
    assert "@here" not in text
    assert "@channel" not in text
    assert "\x1b" not in json.loads(text)["text"]


def test_slack_shows_what_matters(slack: Listener) -> None:
    with Post(slack.slack_url, QUICK) as post:
        SlackChannel(post).send(MESSAGES["picture"])
    text = "\n".join(
        b["text"]["text"] for b in slack.taken[0].json["blocks"] if b["type"] != "image"
    )
    for part in ("Incident opened · critical", "error_ratio ×9", "prod/shop/Deployment/checkout"):
        assert part in text
    assert [b["image_url"] for b in slack.taken[0].json["blocks"] if b["type"] == "image"] == [
        "https://p/a"
    ]


def test_slack_is_told_without_a_picture_that_it_cannot_fetch(slack: Listener) -> None:
    picture = Picture("pictures/a.png", b"", "https://p/missing")
    with Post(slack.slack_url, QUICK) as post:
        SlackChannel(post).send(replace(MESSAGES["one"], picture=picture))
    assert len(slack.taken) == 1
    assert "https://p/missing" in slack.taken[0].body.decode()


@each_message
def test_a_webhook_gets_the_payload_signed(hook: Listener, one: Message) -> None:
    with Post(f"{hook.url}/hook?key=1", QUICK) as post:
        WebhookChannel(post, "shared").send(one)
    heard = hook.taken[0]
    assert heard.path == "/hook?key=1"
    assert heard.headers["X-Foretide-Delivery"] == one.message_id
    told = dict(p.split("=", 1) for p in heard.headers["X-Foretide-Signature"].split(","))
    computed = hmac.new(b"shared", f"{told['t']}.".encode() + heard.body, hashlib.sha256)
    assert told["v1"] == computed.hexdigest()
    body = json.loads(heard.body, parse_constant=pytest.fail)
    assert body["schema"] == "foretide.notice/1"
    assert body["kind"] == one.kind == heard.headers["X-Foretide-Event"]
    assert len(body["troubles"]) + body["omitted"] == len(one.news)
    assert all(c.isprintable() for t in body["troubles"] for c in t["title"])


def test_the_payload_says_all_that_is_known(hook: Listener) -> None:
    with Post(hook.url, QUICK) as post:
        WebhookChannel(post, "").send(MESSAGES["one"])
    assert "X-Foretide-Signature" not in hook.taken[0].headers
    body = hook.taken[0].json
    assert body["troubles"] == [
        {
            "id": "0123456789abcdef", "kind": "opened", "what": "incident", "severity": "critical",
            "title": "checkout: error_ratio ×9 from the usual 0.2% to 1.8%", "note": "",
            "started_at": "2026-06-01T12:00:00Z", "detected_at": "2026-06-01T12:00:00Z",
            "ended_at": None, "score": 3.0, "time_to_limit_h": None,
            "workloads": ["prod/shop/Deployment/checkout"], "workloads_total": 1,
            "causes": [
                {
                    "workload": "prod/shop/Deployment/checkout", "metric": "error_ratio",
                    "score": 3.0, "confidence": 0.8, "evidence": "×9",
                }
            ],
        }
    ]  # fmt: skip


def test_a_picture_goes_along_where_it_is_small_enough(hook: Listener) -> None:
    one = message(incident(), picture=Picture("pictures/a.png", b"p" * 100))
    with Post(hook.url, QUICK) as post:
        WebhookChannel(post, "", picture_bytes_max=100).send(one)
        WebhookChannel(post, "", picture_bytes_max=99).send(one)
    large, small = (heard.json["picture"] for heard in hook.taken)
    assert base64.b64decode(large["png_base64"]) == b"p" * 100
    assert small == {"path": "pictures/a.png", "url": None}


def test_a_busy_server_is_asked_again_and_its_wait_is_bounded(hook: Listener) -> None:
    hook.answers += [(503, "later", {}), (429, "slow", {"Retry-After": "9999"})]
    with Post(hook.url, QUICK) as post:
        post.post(b"{}", {})
    assert len(hook.taken) == 1
    assert len(hook.refused) == 2


@pytest.mark.parametrize(
    ("status", "is_lasting", "times"),
    [(400, True, 1), (403, False, 1), (404, False, 1), (410, False, 1), (500, False, 3)],
)
def test_what_is_refused_says_so_without_the_address(
    slack: Listener, status: int, is_lasting: bool, times: int
) -> None:
    slack.answers += [(status, f"no: {SLACK_PATH} \x1b[31m" + "y" * 999, {})] * 3
    with Post(slack.slack_url, QUICK) as post, pytest.raises(DeliveryError) as caught:
        SlackChannel(post).send(MESSAGES["one"])
    assert caught.value.is_lasting is is_lasting
    assert "s3cr3t" not in f"{caught.value!r} {caught.value.__cause__} {caught.value.__context__}"
    assert str(status) in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert len(slack.refused) == times


def test_no_log_has_the_address(slack: Listener, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    httpx.get(f"{slack.url}/other")
    assert "/other" in caplog.text  # requests of others are logged as before
    slack.answers += [(503, "later", {})]
    with Post(slack.slack_url, QUICK) as post:
        SlackChannel(post).send(MESSAGES["one"])
        post.probe()
    httpx.get(f"{slack.url}/another")
    assert "/another" in caplog.text
    assert "s3cr3t" not in caplog.text


def test_a_redirect_is_not_followed(hook: Listener) -> None:
    hook.answers.append((307, "", {"Location": f"{hook.url}/elsewhere"}))
    with Post(f"{hook.url}/a", QUICK) as post, pytest.raises(DeliveryError, match="redirect"):
        post.post(b"{}", {})
    assert not hook.taken


def test_an_answer_that_does_not_come_is_not_asked_for_twice() -> None:
    asked: list[httpx.Request] = []

    def silent(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.ReadTimeout("timed out at https://h/s3cr3t", request=request)

    post = Post("https://h/s3cr3t", QUICK, transport=httpx.MockTransport(silent))
    with post, pytest.raises(DeliveryError) as caught:
        post.post(b"{}", {})
    assert len(asked) == 1
    assert "s3cr3t" not in str(caught.value)


def test_a_probe_tells_nobody_anything(hook: Listener) -> None:
    with Post(f"{hook.url}/s3cr3t", QUICK) as post:
        assert "answers" in post.probe()
    assert hook.probed == ["/"]
    assert not hook.taken
    with Post("http://127.0.0.1:1/s3cr3t", QUICK) as post, pytest.raises(DeliveryError) as caught:
        post.probe()
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "hooks/s3cr3t", "http://", "ftp://s3c"])
def test_what_is_no_address_is_refused_unseen(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Post(url)
    assert "s3c" not in str(caught.value)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    with mock_aws():
        yield


def test_sns_takes_every_message(aws: None) -> None:
    sns, sqs = boto3.client("sns"), boto3.client("sqs")
    topic = sns.create_topic(Name="ops")["TopicArn"]
    queue = sqs.create_queue(QueueName="q")["QueueUrl"]
    arn = "arn:aws:sqs:eu-central-1:123456789012:q"
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    channel = SnsChannel(sns, topic)
    assert "is there" in channel.probe()
    for one in MESSAGES.values():
        channel.send(one)
        taken = sqs.receive_message(QueueUrl=queue)["Messages"][0]
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=taken["ReceiptHandle"])
        envelope = json.loads(taken["Body"])
        body = json.loads(envelope["Message"])
        assert body["kind"] == one.kind == envelope["MessageAttributes"]["kind"]["Value"]
        assert len(body["troubles"]) + body["omitted"] == len(one.news)
        assert 1 <= len(envelope["Subject"]) <= 100
        assert all(" " <= c <= "~" for c in envelope["Subject"])


def test_sns_attributes_name_the_namespace_that_all_share(aws: None) -> None:
    sns = boto3.client("sns")
    channel = SnsChannel(sns, sns.create_topic(Name="ops")["TopicArn"])
    with Stubber(sns) as stub:
        sent: dict[str, Any] = {}
        stub.add_response("publish", {"MessageId": "1"})
        sns.meta.events.register(
            "before-parameter-build.sns.Publish", lambda params, **_: sent.update(params)
        )
        channel.send(message(incident(), incident(workloads=("prod/pay/Deployment/x",))))
    assert sent["MessageAttributes"]["cluster"]["StringValue"] == "prod"
    assert "namespace" not in sent["MessageAttributes"]
    whole = len(sent["Message"].encode()) + len(json.dumps(sent["MessageAttributes"]))
    assert whole < 256 * 1024


def test_a_topic_that_is_not_there_is_an_error_in_words(aws: None) -> None:
    channel = SnsChannel(boto3.client("sns"), "arn:aws:sns:eu-central-1:123456789012:none")
    for ask in (channel.probe, lambda: channel.send(MESSAGES["one"])):
        with pytest.raises(DeliveryError, match="NotFound"):
            ask()


def test_eventbridge_takes_every_message(aws: None) -> None:
    events, logs = boto3.client("events"), boto3.client("logs")
    logs.create_log_group(logGroupName="/aws/events/all")
    events.put_rule(Name="all", EventPattern=json.dumps({"source": ["foretide"]}))
    arn = "arn:aws:logs:eu-central-1:123456789012:log-group:/aws/events/all"
    events.put_targets(Rule="all", Targets=[{"Id": "1", "Arn": arn}])
    channel = EventBridgeChannel(events, "default")
    assert "is there" in channel.probe()
    for one in MESSAGES.values():
        channel.send(one)
    heard = logs.filter_log_events(logGroupName="/aws/events/all")["events"]
    events_heard = [json.loads(e["message"]) for e in heard]
    assert {e["source"] for e in events_heard} == {"foretide"}
    told = sorted((e["detail-type"].split()[-1].lower(), e["detail"]["kind"]) for e in events_heard)
    assert told == sorted((m.kind, m.kind) for m in MESSAGES.values())


def test_an_event_that_failed_in_an_answer_of_200_is_an_error(aws: None) -> None:
    events = boto3.client("events")
    for code, is_lasting in (("InternalFailure", False), ("MalformedDetail", True)):
        with Stubber(events) as stub:
            entry = {"ErrorCode": code, "ErrorMessage": "no"}
            stub.add_response("put_events", {"FailedEntryCount": 1, "Entries": [entry]})
            with pytest.raises(DeliveryError, match=code) as caught:
                EventBridgeChannel(events, "default").send(MESSAGES["one"])
        assert caught.value.is_lasting is is_lasting


def test_a_payload_is_shortened_until_it_fits() -> None:
    huge = MESSAGES["a hostile digest"]
    for most in (250_000, 60_000, 9_000):
        body = json.loads(data := encoded(huge, most))
        assert len(data) <= most
        assert len(body["troubles"]) + body["omitted"] == 60
    with pytest.raises(DeliveryError) as caught:
        encoded(huge, 100)
    assert caught.value.is_lasting


def test_text_is_short_and_printable() -> None:
    for one in MESSAGES.values():
        lines = in_words(one)
        assert len(lines) <= 23
        assert all(line.isprintable() and len(line) <= 2100 for line in lines)


def test_the_strict_double_is_strict() -> None:
    for body in ({"blocks": [], "text": "x"}, {"text": "x"}, {"blocks": [{"type": "no"}]}):
        assert as_slack(Heard(SLACK_PATH, {}, json.dumps(body).encode()))[0] == 400
