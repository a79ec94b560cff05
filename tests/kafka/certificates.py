"""Certificates of the tests' own making: of the cluster's authority or of another one, valid or not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """Signs certificates; its own is in a file."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    file: Path

    @classmethod
    def of(cls, ca: Path) -> Authority:
        """The one in `ca.pem` and `ca.key`."""
        key = serialization.load_pem_private_key(ca.with_suffix(".key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return cls(x509.load_pem_x509_certificate(ca.read_bytes()), key, ca)

    @classmethod
    def new(cls, file: Path) -> Authority:
        key, name = ec.generate_private_key(ec.SECP256R1()), _name("somebody else's authority")
        builder = _builder(name, name, key, DAY).add_extension(x509.BasicConstraints(True, None), critical=True)
        certificate = builder.sign(key, hashes.SHA256())
        file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return cls(certificate, key, file)

    def issue(self, name: str, file: Path, *, valid: timedelta = DAY, password: str = "") -> Path:
        """Put a certificate for a name, and for this machine, and its key into one file, as a whole."""
        key = ec.generate_private_key(ec.SECP256R1())
        own = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
        builder = _builder(_name(name), self.certificate.subject, key, valid).add_extension(own, critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        hidden = serialization.BestAvailableEncryption(password.encode()) if password else serialization.NoEncryption()
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        new = file.with_suffix(".new")
        new.write_bytes(certificate.public_bytes(pem) + key.private_bytes(pem, form, hidden))
        return new.replace(file)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, valid: timedelta
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer, subject, key.public_key(), x509.random_serial_number(), now - DAY, now + valid
    )
