"""Where people and machines are told: Slack, a webhook, SNS, EventBridge; one message at a time."""

from pipelines.adapters.notify.message import Cause, Channel, Message, Picture, Trouble

__all__ = ["Cause", "Channel", "Message", "Picture", "Trouble"]
