#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Checks an artifact and its receipts with openssl (3.0 or later) and sed alone; no part of kolm is needed.
#
#   sh verify-without-kolm.sh X.kolm KEY.pem [receipts.jsonl]
#
# KEY.pem is the signer's public key, which you must have from somewhere you trust, not from the artifact.
# X.kolm.intoto.jsonl must lie beside the artifact. With the signer's own log, receipts.jsonl, its whole chain is followed too.
# Exit status 0: every line beside the artifact is signed by the key, is about exactly these bytes, and follows the line
# before it. Anything else: 1, with a sentence.
#
# How it works, for whoever wants to check this script. A line is a DSSE envelope, one JSON object without blanks. What was signed is
# "DSSEv1 LEN(type) type LEN(payload) payload", with lengths in bytes. The payload is an in-toto statement that names the
# SHA-256 of the artifact, and at "chain" or "kolm_chain" the SHA-256 of the line before it.
set -eu
LC_ALL=C
export LC_ALL

die() {
    printf 'NOT verified: %s\n' "$1" >&2
    exit 1
}

[ $# -eq 2 ] || [ $# -eq 3 ] || die "usage: $0 X.kolm KEY.pem [receipts.jsonl]"
# A name that begins with "-" would be read as an option.
plain() { case $1 in -*) printf './%s' "$1" ;; *) printf '%s' "$1" ;; esac; }
artifact=$(plain "$1") key=$(plain "$2") log=$(plain "${3-}")
[ -r "$artifact" ] || die "cannot read $artifact"
[ -r "$key" ] || die "cannot read $key"
[ -r "$artifact.intoto.jsonl" ] || die "there are no receipts: cannot read $artifact.intoto.jsonl"

work=$(mktemp -d) || die "cannot make a temporary directory"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

sha256() { openssl dgst -sha256 -r <"$1" | sed 's/[^0-9a-f].*//'; }
# The value of a string field of the line; only its first occurrence from the left may exist.
field() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p' "$work/line"; }

# check_line FILE NUMBER: leaves the line without its LF in $work/line, its payload in $work/body; the signature must be good.
check_line() {
    sed -n "$2p" "$1" | tr -d '\n' >"$work/line"
    # Exactly the one spelling that kolm writes: no field twice, none hidden.
    sed -n '/^{"payload":"[A-Za-z0-9+\/=]*","payloadType":"[A-Za-z0-9.+\/-]*","signatures":\[{"keyid":"[0-9a-f]*","sig":"[A-Za-z0-9+\/=]*"}\]}$/p' \
        "$work/line" >"$work/shape"
    [ -s "$work/shape" ] || die "line $2 of $1 is not an envelope as kolm writes it"
    type=$(field payloadType)
    [ "$type" = "application/vnd.in-toto+json" ] || die "line $2 of $1 is signed as something else: $type"
    [ "$(field keyid)" = "$keyid" ] || die "line $2 of $1 is not by this key but by $(field keyid)"
    for part in payload sig; do
        field $part | openssl base64 -d -A >"$work/$part" || die "line $2 of $1 has a $part that is not base64"
        # Base64 has more than one spelling of the same bytes; the next line was signed over one of them.
        [ "$(openssl base64 -A <"$work/$part")" = "$(field $part)" ] || die "line $2 of $1 has a $part in another spelling"
    done
    mv "$work/payload" "$work/body"
    size=$(wc -c <"$work/body")
    {
        printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$size"
        cat "$work/body"
    } >"$work/pae"
    openssl pkeyutl -verify -pubin -inkey "$key" -rawin -in "$work/pae" -sigfile "$work/sig" >/dev/null 2>&1 ||
        die "the signature of line $2 of $1 is not by this key over this text"
}

# From here on $work/body is what the key's owner wrote. Quotes inside of strings are escaped there, so these patterns only meet keys.
prev() { sed -n 's/.*chain":{"log_id":"[0-9a-f]*","prev":"\([0-9a-f]\{64\}\)","seq":[0-9]*}.*/\1/p' "$work/body"; }
seq_of() { sed -n 's/.*chain":{"log_id":"[0-9a-f]*","prev":"[0-9a-f]\{64\}","seq":\([0-9]*\)}.*/\1/p' "$work/body"; }
subject() { sed -n 's/.*"subject":\[{"digest":{"sha256":"\([0-9a-f]\{64\}\)"},"name":"[^"]*"}\]}$/\1/p' "$work/body"; }

# count FILE: its lines; it must end in a line feed.
count() {
    [ -z "$(tail -c 1 "$1")" ] || die "$1 is cut off"
    wc -l <"$1"
}

openssl pkey -pubin -in "$key" -outform DER >"$work/key" 2>/dev/null || die "$key is not a public key in PEM"
keyid=$(sha256 "$work/key")
digest=$(sha256 "$artifact")
lines=$(count "$artifact.intoto.jsonl")
[ "$lines" -ge 2 ] || die "there should be two receipts beside $artifact"
receipts=0 before="" number=1
while [ "$number" -le "$lines" ]; do
    check_line "$artifact.intoto.jsonl" "$number"
    [ "$(subject)" = "$digest" ] || die "line $number of $artifact.intoto.jsonl is about another file: the artifact was changed"
    # The line before the first one is in the signer's log only.
    [ -z "$before" ] || [ "$(prev)" = "$before" ] || die "line $number of $artifact.intoto.jsonl does not follow the line before it"
    [ -n "$(prev)" ] || die "line $number of $artifact.intoto.jsonl does not say what it follows"
    if grep -q '"predicateType":"urn:kolm:receipt:v1","subject":' "$work/body"; then receipts=$((receipts + 1)); fi
    before=$(sha256 "$work/line")
    number=$((number + 1))
done
[ "$receipts" -ge 1 ] || die "none of the lines is a receipt of kolm"
last=$before

if [ -n "$log" ]; then
    [ -r "$log" ] || die "cannot read $log"
    lines=$(count "$log")
    before=0000000000000000000000000000000000000000000000000000000000000000 number=1 found=no
    while [ "$number" -le "$lines" ]; do
        check_line "$log" "$number"
        [ "$(prev)" = "$before" ] || die "line $number of $log does not follow the line before it"
        [ "$(seq_of)" = "$((number - 1))" ] || die "line $number of $log does not say that it is line $number"
        before=$(sha256 "$work/line")
        [ "$before" != "$last" ] || found=yes
        number=$((number + 1))
    done
    [ "$found" = yes ] || die "the receipt of $artifact is not in $log"
    printf 'chain: %d lines, head %s\n' "$lines" "$before"
fi
printf 'verified: %s (sha256 %s) and its receipts are signed by this key\n' "$artifact" "$digest"
