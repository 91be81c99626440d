"""Pure: frames and panels in, frames and panels out. No cloud, no clock, no disk."""
