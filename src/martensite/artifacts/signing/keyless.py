"""Signing without a key of one's own: Sigstore certifies a key for minutes to whoever an identity provider says one is.

Newman, Meyers, Torres-Arias 2022, "Sigstore: Software Signing for Everybody", CCS. The certificate's identity is verified
together with the transparency log's proof that the signature was made while the certificate held. All that is Sigstore's own is
done by the package ``sigstore``, the one that model-signing uses.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from martensite.artifacts.signing.dsse import read_object
from martensite.artifacts.signing.tree import read_small
from martensite.core.errors import ArtifactError, ConfigError, SignatureError

if TYPE_CHECKING:
    from sigstore.models import ClientTrustConfig

LARGEST = 4 * 2**20


@dataclass(frozen=True)
class Sigstore:
    """Which Sigstore: the public one, or that of an organisation.

    Attributes:
        config: Its client trust configuration, a JSON file; None: the public one's, fetched by TUF.
        offline: Take the public one's as it came with the package, or was fetched last.
    """

    config: Path | None = None
    offline: bool = False

    def trust(self) -> "ClientTrustConfig":
        """Its keys and addresses.

        Raises:
            ArtifactError: no such file, or no network.
        """
        from sigstore.errors import Error
        from sigstore.models import ClientTrustConfig

        logging.getLogger("sigstore").setLevel(logging.ERROR)  # it warns of what --offline asks for
        if self.config is not None:
            content = read_small(self.config, "give the client trust configuration of a Sigstore", LARGEST)
            try:
                return ClientTrustConfig.from_json(content.decode())
            except (ValueError, Error) as error:
                raise ArtifactError(
                    f"{self.config} is no client trust configuration: {str(error)[:200]}", remedy="ask who runs that Sigstore"
                ) from None
        try:
            return ClientTrustConfig.production(offline=self.offline)
        except (Error, OSError, ValueError) as error:
            raise ArtifactError(
                f"Sigstore's keys can't be fetched: {error}",
                "keyless signatures need a network",
                "verify with --offline (keys as they came with the package), sign with --key",
            ) from None

    def seal(self, statement: bytes, token: str | None = None, *, ask: bool = False) -> bytes:
        """The bundle of a statement, certified and logged.

        Args:
            statement: in-toto, as JSON.
            token: Who signs, as a JWT of an identity provider; None: the one of the CI job that this runs in.
            ask: Whether a person is there who can sign in with a browser.

        Raises:
            ArtifactError: nobody says who signs, or no network.
        """
        from sigstore.dsse import Statement
        from sigstore.oidc import IdentityToken, Issuer, detect_credential
        from sigstore.sign import SigningContext

        with _explained():
            trust = self.trust()
            given = token or detect_credential()
            if given:
                who = IdentityToken(given)
            elif ask:
                who = Issuer(trust.signing_config.get_oidc_url()).identity_token()
            else:
                raise ConfigError(
                    "nobody says who signs",
                    "a keyless signature needs an identity token: of a CI job, or of an identity provider",
                    "--identity-token FILE, or sign with --key",
                )
            with SigningContext.from_trust_config(trust).signer(who) as signer:
                return signer.sign_dsse(Statement(statement)).to_json().encode()


@dataclass(frozen=True)
class Identity:
    """Who must have signed.

    Attributes:
        identity: An e-mail address, or the URI of a workflow.
        provider: Who says so: URL of the identity provider.
        sigstore: In whose log it stands.
    """

    identity: str
    provider: str
    sigstore: Sigstore = Sigstore()

    def statement(self, content: bytes, source: str) -> dict[str, Any]:
        """What was signed, if this identity signed it and the log knows of it.

        Raises:
            SignatureError: it didn't, or this is no keyless signature.
            ArtifactError: no network.
        """
        from sigstore.errors import Error
        from sigstore.models import Bundle
        from sigstore.verify import Verifier, policy

        verifier = Verifier(trusted_root=self.sigstore.trust().trusted_root)
        try:
            bundle = Bundle.from_json(content)
            who = policy.Identity(identity=self.identity, issuer=self.provider)
            _, payload = verifier.verify_dsse(bundle=bundle, policy=who)
        except (Error, ValueError, LookupError, TypeError, AttributeError) as error:
            raise SignatureError(
                f"{source} is not signed by {self.identity} of {self.provider}: {' '.join(str(error).split())[:300]}",
                "a keyless signature names its signer and stands in Sigstore's log",
                "ask who signed, or verify with --key or --trust",
            ) from None
        return read_object(payload, "the signed payload")


@contextmanager
def _explained() -> Iterator[None]:
    """Sigstore's errors, and those of the network below it, as ours."""
    from requests.exceptions import RequestException
    from sigstore.errors import Error

    try:
        yield
    except (Error, RequestException, OSError) as error:
        what = " ".join(str(error).split())[:300]
        raise ArtifactError(
            f"Sigstore could not be reached, or refused: {what}",
            "keyless signing needs a network and a valid identity token",
            "try again, or sign with --key",
        ) from None
