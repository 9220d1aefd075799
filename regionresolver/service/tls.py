"""TLS by certificate files: the context of the listening sockets, and a renewed certificate without a restart.

At least TLS 1.2. A changed file is tried in a context of its own first; what cannot be used there replaces nothing. New
connections get the new certificate, those that stand keep theirs.
"""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from regionresolver.errors import SettingsError
from regionresolver.service.watch import Reread
from regionresolver.settings import Settings


@dataclass(eq=False)
class Tls:
    """The certificate of one worker."""

    certificate: Path
    key: Path | None
    context: ssl.SSLContext = field(init=False)
    reread: Reread = field(init=False)

    def __post_init__(self) -> None:
        """Read the files. Raises SettingsError."""
        files = tuple(file for file in (self.certificate, self.key) if file is not None)
        self.reread = Reread(files, self._renew, taken="certificate_loaded", failed="certificate_failed")
        self.context = self._loaded()

    def _renew(self) -> dict[str, object]:
        self._loaded()
        self._load_into(self.context)
        return {}

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        self._load_into(context)
        return context

    def _load_into(self, context: ssl.SSLContext) -> None:
        try:
            # A key with a password would ask for it on the terminal.
            context.load_cert_chain(self.certificate, self.key, password=lambda: b"")
        except ssl.SSLError as error:
            reason = error.reason or "not a certificate and its key in PEM"
            where = f"{self.certificate}: the certificate cannot be used"
            raise SettingsError(f"{where}: {reason} (tls_certificate, tls_key)") from None
        except OSError as error:
            reason = error.strerror or "unknown reason"
            raise SettingsError(f"{self.certificate}: certificate or key cannot be read: {reason}") from None


def open_tls(settings: Settings) -> Tls | None:
    """Make the TLS of a worker, None where the service speaks plain HTTP. Raises SettingsError."""
    if settings.tls_certificate is None:
        if settings.tls_key is not None:
            raise SettingsError("tls_key is set, and tls_certificate is not (give both, or one file that holds both)")
        return None
    return Tls(settings.tls_certificate, settings.tls_key)
