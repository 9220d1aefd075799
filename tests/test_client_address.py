"""Whose address a request came from: tables of peers, headers and trusted networks."""

from ipaddress import ip_network

import pytest

from regionresolver.service.client_address import UntrustedClientError, client_address

PROXY = "10.0.0.1"
TRUSTED = [ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48")]


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "forwarded", "client"),
    [
        pytest.param("203.0.113.7", [], [], "203.0.113.7", id="no proxy"),
        pytest.param("203.0.113.7", ["1.1.1.1"], ["for=2.2.2.2"], "203.0.113.7", id="headers of an untrusted peer do not count"),
        pytest.param("203.0.113.7", ["nonsense"], ['for="'], "203.0.113.7", id="nor do malformed ones"),
        pytest.param(PROXY, ["203.0.113.7"], [], "203.0.113.7", id="one proxy"),
        pytest.param(PROXY, ["6.6.6.6, 203.0.113.7"], [], "203.0.113.7", id="the client forged a hop on the left"),
        pytest.param(PROXY, ["junk, 203.0.113.7, 10.9.9.9"], [], "203.0.113.7", id="two proxies, junk on the left"),
        pytest.param(PROXY, ["6.6.6.6", "203.0.113.7", "10.9.9.9"], [], "203.0.113.7", id="three field lines are one list"),
        pytest.param(PROXY, ["203.0.113.7:51234"], [], "203.0.113.7", id="IPv4 with a port"),
        pytest.param(PROXY, ["[2001:db8::7]:443"], [], "2001:db8::7", id="IPv6 with a port"),
        pytest.param(PROXY, ["2001:db8::7,10.1.1.1"], [], "2001:db8::7", id="bare IPv6"),
        pytest.param(PROXY, ["::ffff:203.0.113.7"], [], "203.0.113.7", id="a mapped hop is the IPv4 that it is"),
        pytest.param(
            "::ffff:10.0.0.1", ["203.0.113.7"], [], "203.0.113.7", id="a mapped peer (dual-stack socket) is trusted as IPv4"
        ),
        pytest.param("2001:db8:ffff::1", ["203.0.113.7"], [], "203.0.113.7", id="IPv6 proxy"),
        pytest.param("fe80::1%eth0", [], [], "fe80::1", id="the zone of a link-local peer"),
        pytest.param(PROXY, [], ["for=203.0.113.7"], "203.0.113.7", id="Forwarded"),
        pytest.param(
            PROXY, [], ["for=6.6.6.6, for=203.0.113.7;proto=https;by=10.0.0.1"], "203.0.113.7", id="Forwarded, two elements"
        ),
        pytest.param(PROXY, [], ['For="[2001:db8::7]:4711"'], "2001:db8::7", id="Forwarded, quoted, capital"),
        pytest.param(
            PROXY, [], ['proto=http;for="203.0.113.7:80" , for=10.2.2.2'], "203.0.113.7", id="Forwarded through a second proxy"
        ),
        pytest.param(PROXY, [], ["for=203.0.113.7:80"], "203.0.113.7", id="Forwarded, an unquoted port"),
        pytest.param(PROXY, [], ["for=_hidden, for=203.0.113.7"], "203.0.113.7", id="an obfuscated hop left of the client"),
        pytest.param(PROXY, [], ["for=6.6.6.6", "for=203.0.113.7;"], "203.0.113.7", id="Forwarded, two lines"),
        pytest.param(PROXY, [], [r'for="\203.0.113.7"'], "203.0.113.7", id="Forwarded, an escaped character"),
        pytest.param(PROXY, ["203.0.113.7"], ["for=203.0.113.7"], "203.0.113.7", id="both headers agree"),
    ],
)
def test_client(peer: str, forwarded_for: list[str], forwarded: list[str], client: str) -> None:
    assert str(client_address(peer, forwarded_for, forwarded, TRUSTED)) == client


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "forwarded", "words"),
    [
        pytest.param(None, [], [], "no peer", id="Unix socket"),
        pytest.param("", [], [], "no peer", id="empty peer"),
        pytest.param(PROXY, [], [], "names no client", id="the proxy itself asks"),
        pytest.param(PROXY, ["10.1.1.1, 10.2.2.2"], [], "every hop", id="nobody is untrusted"),
        pytest.param(PROXY, ["203.0.113.7, unknown"], [], "no IP address", id="unknown"),
        pytest.param(PROXY, ["203.0.113.7,"], [], "no IP address", id="empty rightmost hop"),
        pytest.param(PROXY, ["203.0.113.0/24"], [], "no IP address", id="CIDR"),
        pytest.param(PROXY, ["fe80::1%eth0"], [], "no IP address", id="zone id"),
        pytest.param(PROXY, ["203.0.113.7:123456"], [], "no IP address", id="port of six digits"),
        pytest.param(PROXY, ["0xcb.0.113.7"], [], "no IP address", id="hexadecimal"),
        pytest.param(PROXY, ["203.0.113.07"], [], "no IP address", id="leading zero"),
        pytest.param(PROXY, ["٢٠٣.0.113.7"], [], "no IP address", id="Arabic digits"),
        pytest.param(PROXY, ["3405803783"], [], "no IP address", id="an integer"),
        pytest.param(PROXY, [], ["for=203.0.113.7, for=_hidden"], "no IP address", id="obfuscated rightmost hop"),
        pytest.param(PROXY, [], ["for=203.0.113.7, by=10.0.0.1"], "no IP address", id="an element without for"),
        pytest.param(PROXY, [], ["for=203.0.113.7 for=6.6.6.6"], "malformed", id="no separator"),
        pytest.param(PROXY, [], ["203.0.113.7"], "malformed", id="no name"),
        pytest.param(PROXY, [], ["for=203.0.113.7;for=6.6.6.6"], "twice", id="a parameter twice"),
        pytest.param(
            PROXY, [], ['for=6.6.6.6;by="x, for="[2001:db8::7]"'], "malformed", id="an open quote swallows the proxy's part"
        ),
        pytest.param(PROXY, [], ['for="6.6.6.6, for=203.0.113.7'], "malformed", id="an open quote to the end"),
        pytest.param(PROXY, ["203.0.113.7"], ["for=6.6.6.6"], "different clients", id="the headers disagree"),
    ],
)
def test_refused(peer: str | None, forwarded_for: list[str], forwarded: list[str], words: str) -> None:
    with pytest.raises(UntrustedClientError, match=words) as caught:
        client_address(peer, forwarded_for, forwarded, TRUSTED)
    assert caught.value.status == 400
    assert caught.value.code == "CLIENT_IP_UNTRUSTED"


def test_no_trusted_network_means_no_header_counts() -> None:
    assert str(client_address(PROXY, ["203.0.113.7"], ["for=203.0.113.7"], [])) == PROXY


def test_a_refusal_names_no_address() -> None:
    with pytest.raises(UntrustedClientError) as caught:
        client_address(PROXY, ["evil-hop"], [], TRUSTED)
    assert "evil" not in str(caught.value)
    assert PROXY not in str(caught.value)
