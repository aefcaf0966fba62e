#!/usr/bin/env bash
# Makes signature_vectors.json with openssl and nothing else, so that it can prove the three implementations wrong:
# worker/gateway/edge/signature.py, functions/client/signature.ts and functions/_shared/signature.ts.
set -euo pipefail

hash() { printf %s "$1" | openssl dgst -sha256 -r | cut -d' ' -f1; }
hmac() { printf %s "$2" | openssl dgst -sha256 -hmac "$1" -r | cut -d' ' -f1; }
quoted() { printf '"%s"' "$(printf %s "$1" | sed 's/\\/\\\\/g; s/"/\\"/g')"; }
first=yes
vector() { # name secret timestamp nonce method target body
  local text="v1:$3:$4:$5:$6:$(hash "$7")"
  [ "$first" = yes ] || printf ',\n'
  first=no
  printf '  {"name": %s, "secret": %s, "timestamp": %s, "nonce": %s, "method": "%s",\n   "target": %s, "body": %s,\n' \
    "$(quoted "$1")" "$(quoted "$2")" "$3" "$(quoted "$4")" "$5" "$(quoted "$6")" "$(quoted "$7")"
  printf '   "text": %s,\n   "signature": "v1=%s"}' "$(quoted "$text")" "$(hmac "$2" "$text")"
}

SECRET=pms_sk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8
OTHER=pms_sk__-8A_-8A_-8A_-8A_-8A_-8A_-8A_-8A_-8A_-8A_-8
NONCE=0123456789abcdef
PRODUCT='{"sku": "BOOT-42", "name": "Boot", "price": 119.90}'
echo '['
vector 'a read without a query' $SECRET 1764201600 $NONCE GET /pms/v1/products ''
vector 'a query stands as it was sent' $SECRET 1764201600 $NONCE GET '/pms/v1/products?limit=50&sort=-price' ''
vector 'an order of parameters of its own' $SECRET 1764201600 $NONCE GET '/pms/v1/products?sort=-price&limit=50' ''
vector 'percent-encoding is not undone' $SECRET 1764201600 $NONCE GET '/pms/v1/products?sku=B%2042%2Fx%C3%BC&q=a+b' ''
vector 'nor is it made upper case' $SECRET 1764201600 $NONCE GET '/pms/v1/products?sku=B%2f42' ''
vector 'the path without a version' $SECRET 1764201600 $NONCE GET /pms/products ''
vector 'a write' $SECRET 1764201600 $NONCE POST /pms/v1/products "$PRODUCT"
vector 'another method' $SECRET 1764201600 $NONCE PUT /pms/v1/products "$PRODUCT"
vector 'another second' $SECRET 1764201601 $NONCE POST /pms/v1/products "$PRODUCT"
vector 'the longest nonce' $SECRET 1764201600 'AZaz09_-AZaz09_-AZaz09_-AZaz09_-AZaz09_-AZaz09_-AZaz09_-AZaz09_-' POST /pms/v1/products "$PRODUCT"
vector 'another secret' $OTHER 1764201600 $NONCE POST /pms/v1/products "$PRODUCT"
vector 'a body in UTF-8' $SECRET 1764201600 $NONCE POST /pms/v1/products '{"name": "Stövel – 靴 👢"}'
vector 'a body that ends in a space' $SECRET 1764201600 $NONCE POST /pms/v1/inventory/adjust '{"lines": []} '
vector 'a deletion without a body' $SECRET 1764201600 $NONCE DELETE /pms/v1/products/0193b6e5-6f5b-7cc0-8a4e-6d1a3c9d2f10 ''
printf '\n]\n'
