"""What each identity may do in Redis or Valkey: its own keys, the commands it needs, nothing else."""

from __future__ import annotations

from hashlib import sha256

_CONNECTING = ("ping", "hello", "client|setname", "client|setinfo", "select", "evalsha", "eval")

STORE_USERS = {
    "fetcher": (
        ("keyferry:content:*", "keyferry:backend:*"),
        (*_CONNECTING, "get", "set", "del", "exists", "rename", "hget", "hset", "pexpire", "pttl", "time"),
    ),
    "rotator": (
        ("keyferry:rotation:*",),
        (
            *_CONNECTING,
            *("get", "set", "del", "exists", "hget", "hset", "hdel", "hgetall", "hlen", "hscan"),
            *("sadd", "srem", "smembers", "zadd", "zrem", "zcard", "zrange", "zrangebyscore"),
        ),
    ),
    "cli": (  # whoever looks: no command that writes, in a script neither
        ("keyferry:rotation:*", "keyferry:backend:*"),
        (*_CONNECTING, "get", "hget", "hgetall", "hlen", "hscan", "zscore", "zcount", "zrange", "scan", "pttl"),
    ),
}
"""User to patterns of its keys, and its commands (https://valkey.io/topics/acl)."""


def acl_file(passwords: dict[str, str]) -> str:
    """What the server reads as its ``aclfile``; it holds digests of the passwords, and nobody else gets in."""
    lines = ["user default reset off"]
    for user, (keys, commands) in STORE_USERS.items():
        digest = sha256(passwords[user].encode()).hexdigest()
        allowed = [*(f"~{key}" for key in keys), *(f"+{command}" for command in commands)]
        lines.append(f"user {user} reset on #{digest} {' '.join(allowed)}")
    return "\n".join(lines) + "\n"
