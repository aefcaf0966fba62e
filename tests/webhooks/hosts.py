"""Ordinary hosts of customers, none of which either side of the wall may refuse."""

from __future__ import annotations

import itertools
from pathlib import Path


def words(text: str) -> list[str]:
    return text.split()


REAL = words(Path(__file__).with_name("public_hosts.txt").read_text())
"""Well-known ones."""
_BRANDS = words(
    """
    acme nordlys fjordfisk kaffebrenneriet mugs-and-more blue-bottle 24shop 3dprints shop4you cafe1881
    x-factory grossiste-bio muellerundsoehne tanaka-shoten loja-do-ze sklep-internetowy obchod kauppa a1 z0
    the-long-name-of-a-shop-that-sells-nearly-everything-and-online
    """
)
_FRONTS = words(
    """
    hooks webhooks api events in.events pms-webhooks api-v2 hook-01 prod.eu-west-1.api wh.stage
    a.b.c.d.e.f.g webhook--receiver 10-0-0-1.customers r2d2 x
    """
)
_ENDS = words(
    """
    com net org io dev app shop store co cloud online email agency museum travel photography eu de fr it
    es nl be at ch se no dk fi is ie pt pl cz sk hu ro bg gr tr ua jp cn tw kr in id my sg vn th ph au
    nz za ng ke eg ma br ar cl mx us ca co.uk org.uk com.au co.nz co.jp com.br com.mx co.za co.in com.tr
    com.sg com.hk xn--p1ai xn--fiqs8s xn--90ais xn--3e0b707e myshopify.com herokuapp.com vercel.app
    supabase.co execute-api.eu-north-1.amazonaws.com
    """
)
INTERNATIONAL = words(
    """
    bücher.de müller-söhne.ch blåbærsyltetøy.no ærlig.dk öresund.se äänekoski.fi café.fr naïveté.fr niño.es
    açaí.com.br łódź.pl škoda.cz žltý.sk győr.hu șosea.ro българия.bg пример.рф магазин.укр παράδειγμα.gr
    ελλάδα.ευ straße.de fußball.at 例え.jp はじめよう.みんな 中国.cn 商店.网店 한국.kr मराठी.भारत ไทย.ไทย
    مثال.إختبار دبي.امارات ישראל.קום հայ.հայ საქართველო.გე
    """
)


def public_hosts() -> list[str]:
    """A thousand and more, in ASCII: the real ones first."""
    made = []
    for number, (brand, end) in enumerate(itertools.product(_BRANDS, _ENDS)):
        front = _FRONTS[number % len(_FRONTS)]
        made.append(f"{front}.{brand}.{end}" if number % 3 else f"{brand}.{end}")
    longest = ".".join(["a" * 63] * 3 + ["b" * 57, "com"])
    return list(dict.fromkeys([*REAL, *made, longest]))
