"""The seal by the letter of its standards, computed from the primitives, so that no upgrade changes it unseen."""

import base64
import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from keyferry.sealing import Binding, OpeningKey, Sealed

SEED = bytes(range(96))
BINDING = Binding("ask", "r-1", "node-1", "csi-1")
SUITE = b"HPKE" + (0x647A).to_bytes(2, "big") + (1).to_bytes(2, "big") + (2).to_bytes(2, "big")
KEM_CIPHERTEXT = 1088 + 32

STORED = """
LWMRsInuCBbRBhpYIn9KrXvkJZazdnm7OWQBdw1RYvfDUjwTc1Mqbz4YgKqJE71DDslHje0hJQWSVb9gc7XUg1selJyMWW/g4z5rZDfg7f//RF
tsRtaeS0isKlRbAkJ7Ml0SZRyGGzDg+FoxK4JDOS9/QIkvh6UM+QU9bkovh0HOsJWVpm/DekEqpVYmLWRw3FTi6HDfKxzJkD6xRKzCcJDFZLQ8
wzGytC5YXie3TdYzJY5U2gVkbUppMWRDBeuyPVYvfVlBm0axRawGAsCUWavqLh5bhK5UuNLJqtSoDEXpzUiO9pSqOCcZkHQWXMI7LwGOPLF+TB
TkRsBkkbb8RJJHlP1WJv05VWzhzBmYw2vm1UsdrynAsNheO1/9+HcyOnlDRd27OUiAteP0GkQfFRbDfFBcYz0JKo79/kPzpd7U/tfSxLeUSl9Y
eZE5IBikTY5vAqgVUiNyZghK0N36O5BzuBXRqNZ7awjGypAFVPqg4+hKN3TAJovu1cwuZLPuiva46qH5gFQYdj/TqY0vLyvOyY8Bd8c5ZSqG9a
4u5wLkqgSeOfUkUzIDYT0vbtvG15C4k83o+ra58J0ODlVeMLc1oQzHePIQ435YZN7ICtHMdqf868TqusiP0slrKFmjdjpCaT//gvy0B9EsGJEP
5QdktwThmjD3xeZwwmb5uIaNNFZc7dwJYKJgcwNU6gq2fW3YcdZZ/jTH2DZxpaZ2df9zrp4B+CjMkmjqRuaLZl3o9VxLEV9068FlGgcPoxdfs+
4I8MGxfg490/lGj/fSoyZTWe1NHSj5somGoN2QQmJ52zeqnFwRhdCX0NGG8VHmvwUyGWd3/aXTRD2gSXYs5Ym4NYJn6SUf0tJYFJDTwtEo7Ruu
tHEzFlXG31ZR634jdmFTbb0dF3oXWEraOiynLLOAG4Gp7lzuK4LT4520A4J9RdAr7A9YHpx3YSu8y776g5WDR1NTmV/vlm/+WV1Y4huLGPP2JK
VcjJuaBT00t010UvLuSQF/YXcGFEFtKT8T1eUdbfNZDryoUe6aJWoGTlwLsec6s1AUmvIAElyLjhvMjzsd8Ce41POA1NHRVgjF49gzRjLB0xcK
1xl0O8oIgDBtY7DxKEr12ojk+jntkA5YoE18cT72D3h40nVFRLX02jLvpxfgspCd8nFwzmutlPaarIsMHKA6dAU9zE51ggs632STN+y8fW4Hpy
i+4tbyeyN6bM5fscr0sdkXa1Zb3TyMbe+15S0/mGT5q75y3ZbhEdJ/Ixgtdzl0khLaEsDRBXZ7QMch4EbkJ/hdsWTOPV2KyTflJXpR53UlScsK
4sRQcPoaJvQ1x5oye40xZXxT9113e4MjCQjqHxaImirqf4+FeZ8LbCzpNTLXNOGeYBWtmgvrhM5/rWf1ioLKHWhFjcms0IMZKV3VbQl3L6LwEA
pPW3A0XaMMQkK9r2hHFRWAUW35gmws+MQQN+jvKyLk9vCtYwYmm4cfALxia1VPI6bdFrZ1237v6I9UJw24i4PHp8Aw0jNBkMgYoz32pg==
"""


def test_a_stored_ciphertext_still_opens() -> None:
    """What an earlier release sealed to a key made from a seed opens with the key made from it now."""
    key = OpeningKey.from_seed("fetcher-1", SEED)

    assert key.open(Sealed("fetcher-1", base64.b64decode(STORED)), BINDING) == b"a known answer"
    assert hashlib.sha256(key.recipient.raw).hexdigest().startswith("d99e4496af749b54")


def test_a_seal_opens_by_the_standards_alone() -> None:
    """HPKE base mode (RFC 9180) over X-Wing, HKDF-SHA256 and AES-256-GCM, step by step, opens what we seal."""
    sealed = OpeningKey.from_seed("fetcher-1", SEED).recipient.seal(b"across implementations", BINDING)
    enc, ciphertext = sealed.ciphertext[:KEM_CIPHERTEXT], sealed.ciphertext[KEM_CIPHERTEXT:]

    info = BINDING.info("fetcher-1")
    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(xwing(enc), b"secret", b"")
    key, nonce = expand(secret, b"key", context, 32), expand(secret, b"base_nonce", context, 12)

    assert AESGCM(key).decrypt(nonce, ciphertext, b"") == b"across implementations"


def xwing(enc: bytes) -> bytes:
    """Decapsulate: draft-connolly-cfrg-xwing-kem, the combiner of ML-KEM-768 and X25519."""
    x25519 = X25519PrivateKey.from_private_bytes(SEED[64:])
    ours = x25519.public_key().public_bytes_raw()
    theirs = enc[1088:]
    shared = MLKEM768PrivateKey.from_seed_bytes(SEED[:64]).decapsulate(enc[:1088])
    exchanged = x25519.exchange(X25519PublicKey.from_public_bytes(theirs))
    return hashlib.sha3_256(shared + exchanged + theirs + ours + b"\\.//^\\").digest()


def extract(salt: bytes, label: bytes, material: bytes) -> bytes:
    """LabeledExtract (RFC 9180, section 4)."""
    return hmac.digest(salt or bytes(32), b"HPKE-v1" + SUITE + label + material, "sha256")


def expand(secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
    """LabeledExpand (RFC 9180, section 4), for one block of output."""
    return hmac.digest(secret, length.to_bytes(2, "big") + b"HPKE-v1" + SUITE + label + info + b"\1", "sha256")[:length]
