"""Which IP addresses are public: our own table, deny by default. Pure.

Sources: the IANA IPv4 and IPv6 special-purpose address registries (RFC 6890 and what updates it). Python's
`is_global` is no substitute: it passes NAT64, 6to4 and other forms of internal addresses.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final

Address = IPv4Address | IPv6Address

_REFUSED_V4: Final = tuple(
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24"),
        *("192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
        *("224.0.0.0/4", "240.0.0.0/4"),
        # public in name only: Azure's host agent, which every virtual machine there can reach
        "168.63.129.16/32",
    )
)
# IANA gives out global unicast from here alone: NAT64, mapped forms, ULA, fec0:: and 5f00:: all lie outside
_GLOBAL_V6: Final = ip_network("2000::/3")
_REFUSED_V6: Final = tuple(
    ip_network(text)
    for text in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "2620:4f:8000::/48",  # AS112
        "3ffe::/16",  # the old 6bone
        "3fff::/20",  # documentation
    )
)
# ISATAP (RFC 5214): an interface id that begins like this carries an IPv4 address
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)


def is_public(address: Address) -> bool:
    """Whether `address` is global unicast; whatever is unknown is not."""
    if isinstance(address, IPv4Address):
        return not any(address in net for net in _REFUSED_V4)
    if address.scope_id is not None or address not in _GLOBAL_V6:
        return False
    if (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return False
    return not any(address in net for net in _REFUSED_V6)
