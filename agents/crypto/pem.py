"""Private keys as encrypted PKCS#8 PEM (RFC 5958, PBES2 of RFC 8018 with the scrypt of RFC 7914, AES-256-CBC).

`cryptography` reads this form but writes only PBKDF2 with 2,048 rounds, which would be the cheap way to the password
that also protects the account. `openssl pkey` opens the file.
"""

import base64
import os
from typing import Final

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

_INTEGER: Final = 0x02
_OCTETS: Final = 0x04
_SEQUENCE: Final = 0x30
_PBES2: Final = bytes.fromhex("06092a864886f70d01050d")
_SCRYPT: Final = bytes.fromhex("06092b06010401da47040b")
_AES_256_CBC: Final = bytes.fromhex("060960864801650304012a")
_BLOCK_SIZE: Final = 8
_MAX_N: Final = 1 << 14  # 16 MiB: OpenSSL refuses more than 32; the rest of the cost goes into p


def encrypted_pem(private_key: RSAPrivateKey, password: bytes, scrypt_n: int) -> bytes:
    """`scrypt_n`, a power of two, is the cost of trying one password: N * p."""
    salt, iv = os.urandom(16), os.urandom(16)
    n = min(scrypt_n, _MAX_N)
    p = scrypt_n // n
    key = Scrypt(salt, 32, n, _BLOCK_SIZE, p).derive(password)
    padder = padding.PKCS7(AES.block_size).padder()
    plain = private_key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    encryptor = Cipher(AES(key), CBC(iv)).encryptor()
    sealed = encryptor.update(padder.update(plain) + padder.finalize()) + encryptor.finalize()
    cost = _der(_SEQUENCE, _der(_OCTETS, salt), _integer(n), _integer(_BLOCK_SIZE), _integer(p))
    kdf = _der(_SEQUENCE, _SCRYPT, cost)
    cipher = _der(_SEQUENCE, _AES_256_CBC, _der(_OCTETS, iv))
    scheme = _der(_SEQUENCE, _PBES2, _der(_SEQUENCE, kdf, cipher))
    return _pem(_der(_SEQUENCE, scheme, _der(_OCTETS, sealed)))


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body).to_bytes((len(body).bit_length() + 7) // 8 or 1)
    head = size if len(body) < 0x80 else bytes([0x80 | len(size)]) + size
    return bytes([tag]) + head + body


def _integer(value: int) -> bytes:
    return _der(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1))


def _pem(der: bytes) -> bytes:
    text = base64.b64encode(der)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return b"\n".join([b"-----BEGIN ENCRYPTED PRIVATE KEY-----", *lines, b"-----END ENCRYPTED PRIVATE KEY-----", b""])
