"""A small certificate authority for the traffic of a Dask cluster: what ``dgmm certs`` makes.

Dask checks that a certificate was signed by the authority that it was told of, and not which name
stands in it: whoever holds one of these keys belongs to the cluster. Keys are on the curve P-256.
"""

from __future__ import annotations

import ipaddress
import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dgmm.errors import JobError, MissingExtraError
from dgmm.storage.paths import local_path
from dgmm.storage.replacing import replacing_folder

try:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
except ImportError:
    x509 = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ROLES = {"scheduler": True, "worker": True, "client": False}
"""Who gets a certificate, and whether it is also for answering connections."""

HOSTS = ("localhost", "127.0.0.1")

_MOST_DAYS = 3650
# Clocks of machines differ.
_EARLIER = timedelta(minutes=10)


def make_certificates(folder: str | Path, *, hosts: Sequence[str] = HOSTS, days: int = 365) -> list[str]:
    """Make an authority and a certificate and key for each role, all of them or nothing.

    The folder gets ``ca.pem`` and ``ca-key.pem``, and ``ROLE.pem`` and ``ROLE-key.pem`` for scheduler,
    worker and client. Only its owner may enter it, or read the keys.

    Parameters
    ----------
    folder : path
        That does not exist yet.
    hosts : sequence of str
        Names and addresses of the machines, written into the certificates of scheduler and worker.
    days : int
        How long the certificates are good for, at most 3650.

    Returns
    -------
    list of str
        What to do with them, in lines for a person.

    Raises
    ------
    JobError
        If the folder exists, or a host or the number of days is impossible.
    ParameterError
        If ``folder`` is no path, or a URL.
    MissingExtraError
        If the package cryptography is not installed.
    """
    if x509 is None:
        raise MissingExtraError("cryptography", "certs", "making certificates")
    folder = local_path(folder).absolute()
    if folder.is_symlink() or folder.exists():
        raise JobError(f"{folder}: exists already; certificates are never overwritten: choose another folder")
    if not 1 <= days <= _MOST_DAYS:
        raise JobError(f"--days: found {days}; allowed: 1 to {_MOST_DAYS}")
    names = [_name(host) for host in hosts]
    try:
        with replacing_folder(folder) as temporary:
            _write(temporary, names, days)
    except OSError as error:
        if isinstance(error, JobError):
            raise
        raise JobError(f"{folder}: cannot be written: {error.strerror or error}") from error
    return _advice(folder, hosts)


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        if not host or len(host) > 253 or not all(character.isalnum() or character in ".-*" for character in host):
            raise ValueError
        return x509.DNSName(host)
    except ValueError:
        raise JobError(f"--host: found {host[:60]!r}; allowed: a name as node1.example.org, or an address") from None


def _write(folder: Path, names: list[x509.GeneralName], days: int) -> None:
    folder.mkdir(mode=0o700)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    # The name differs from one authority to the next, so that an error can tell which one it means.
    authority_name = _subject(f"dgmm cluster {x509.random_serial_number():x}"[:30])
    authority = (
        _begin(authority_name, authority_name, authority_key, authority_key, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(authority_key, SHA256())
    )
    _save(folder, "ca", authority, authority_key)
    for role, listens in ROLES.items():
        key = ec.generate_private_key(ec.SECP256R1())
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if listens else [])]
        builder = (
            _begin(_subject(f"dgmm {role}"), authority_name, key, authority_key, days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        )
        if listens:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        _save(folder, role, builder.sign(authority_key, SHA256()), key)


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _begin(subject: x509.Name, issuer: x509.Name, key: Any, authority_key: Any, days: int) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )


def _usage(**allowed: bool) -> x509.KeyUsage:
    every = (
        "digital_signature content_commitment key_encipherment data_encipherment key_agreement key_cert_sign "
        "crl_sign encipher_only decipher_only"
    )
    return x509.KeyUsage(**{use: allowed.get(use, False) for use in every.split()})


def _save(folder: Path, name: str, certificate: x509.Certificate, key: Any) -> None:
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # Never readable for others, not even between its creation and a later chmod.
    with os.fdopen(os.open(folder / f"{name}-key.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(text)
    (folder / f"{name}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))


def _advice(folder: Path, hosts: Sequence[str]) -> list[str]:
    host = next((each for each in hosts if each not in HOSTS), HOSTS[1])
    own = host if host in HOSTS else "ITS-ADDRESS"
    tls = "--tls-ca-file ca.pem --tls-cert {0}.pem --tls-key {0}-key.pem"
    return [
        f"made an authority and certificates for {', '.join(ROLES)} in {folder}",
        "",
        "Each machine needs ca.pem and the two files of its role. Keep ca-key.pem to yourself: who has it can join.",
        "The scheduler, with its health page for its own machine alone:",
        f"  python -m distributed.cli.dask_scheduler --protocol tls --host {host} --port 8786 "
        f"--no-dashboard --dashboard-address 127.0.0.1:0 {tls.format('scheduler')}",
        "Each worker:",
        f"  python -m distributed.cli.dask_worker tls://{host}:8786 --protocol tls --host {own} "
        f"--no-dashboard --dashboard-address 127.0.0.1:0 {tls.format('worker')}",
        "The job file, or a file for --cluster with what stands below `cluster`:",
        "  cluster:",
        "    kind: scheduler",
        f"    address: tls://{host}:8786",
        *(
            f"    {key}: {folder / name}"
            for key, name in (
                ("tls_ca_file", "ca.pem"),
                ("tls_cert", "client.pem"),
                ("tls_key", "client-key.pem"),
            )
        ),
    ]
