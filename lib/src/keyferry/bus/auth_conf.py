"""What nats-server is told of identities: each one's public key and what it may do, as text of its configuration."""

from __future__ import annotations

import json

from keyferry.bus.permissions import ACCOUNT, CALLOUT, CALLOUT_ACCOUNT, SERVICES, Rights

_TEMPLATE = """\
# Made by `python -m keyferry.identities create`: public keys and what each may do. The keys themselves are elsewhere.
accounts {{
  {account} {{
    jetstream: enabled
    users: [
{users}
    ]
  }}
  {callout_account} {{
    users: [
{callout}
    ]
  }}
  SYS {{}}
}}
system_account: SYS
authorization {{
  timeout: 5  # seconds, within which a fetcher must have looked at a node's token
  auth_callout {{
    issuer: {issuer}
    account: {callout_account}
    auth_users: {auth_users}
  }}
}}
"""


def server_config(public: dict[str, str], *, callout: str, issuer: str) -> str:
    """What nats-server includes in its configuration.

    Args:
        public: Service to its public key.
        callout: Public key of the fetchers' connection that answers for nodes.
        issuer: Public key that the nodes' rights are signed with.
    """
    return _TEMPLATE.format(
        account=ACCOUNT,
        callout_account=CALLOUT_ACCOUNT,
        users="\n".join(_user(name, public[name], rights) for name, rights in SERVICES.items()),
        callout=_user("callout", callout, CALLOUT),
        issuer=issuer,
        auth_users=json.dumps([*public.values(), callout]),
    )


def _user(name: str, key: str, rights: Rights) -> str:
    def listed(subjects: tuple[str, ...]) -> str:
        return "".join(f"\n          {json.dumps(subject)}" for subject in subjects)

    return f"""\
      {{  # {name}
        nkey: {key}
        allowed_connection_types: ["STANDARD"]
        permissions {{
          publish {{ allow: [{listed(rights.publish)}
          ] }}
          subscribe {{ allow: [{listed(rights.subscribe)}
          ] }}
        }}
      }}"""
