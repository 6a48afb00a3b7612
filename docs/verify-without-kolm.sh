#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Checks an artifact and its receipts with openssl (3.0 or later) and sed alone; no part of kolm is needed.
#
#   sh verify-without-kolm.sh X.kolm KEY.pem [receipts.jsonl]
#
# KEY.pem is the signer's public key, which you must have from somewhere you trust, not from the artifact.
# X.kolm.intoto.jsonl must lie beside the artifact. With the signer's own log, receipts.jsonl, its whole chain is followed too, and
# if receipts.jsonl.heads lies beside that, whether its end was cut off.
# Exit status 0: the first two lines beside the artifact are signed by the key, are about exactly these bytes, and one follows the
# other. Anything else: 1, with a sentence. `kolm verify --receipts` follows the same rule (core/receipt/receipt.h in kolm's sources); it knows
# besides which keys were revoked or replaced, and looks inside the artifact.
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
sidecar=$artifact.intoto.jsonl
# A pipe of that name would be waited for.
readable() { [ -f "$1" ] && [ -r "$1" ]; }
readable "$artifact" || die "cannot read $artifact"
readable "$key" || die "cannot read $key"
readable "$sidecar" || die "there are no receipts: cannot read $sidecar"

work=$(mktemp -d) || die "cannot make a temporary directory"
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

sha256() { openssl dgst -sha256 -r <"$1" | sed 's/[^0-9a-f].*//'; }
# The value of a string field of the line; only its first occurrence from the left may exist.
field() { sed -n 's/.*"'"$1"'":"\([^"]*\)".*/\1/p' "$work/line"; }

# take_line FILE NUMBER: leaves the line without its LF in $work/line and its payload in $work/body. It must be in the one spelling
# that kolm writes: no field twice, none hidden, and of base64, which has more than one spelling of the same bytes, the usual one,
# since the next line was signed over exactly these.
take_line() {
    sed -n "$2p" "$1" | tr -d '\n' >"$work/line"
    sed -n '/^{"payload":"[A-Za-z0-9+\/=]*","payloadType":"[A-Za-z0-9.+\/-]\{1,\}","signatures":\[{"keyid":"[0-9a-f]\{64\}","sig":"[A-Za-z0-9+\/]\{86\}=="}\]}$/p' \
        "$work/line" >"$work/shape"
    [ -s "$work/shape" ] || die "line $2 of $1 is not an envelope as kolm writes it"
    type=$(field payloadType) named=$(field keyid)
    for part in payload sig; do
        field $part | openssl base64 -d -A >"$work/$part" || die "line $2 of $1 has a $part that is not base64"
        [ "$(openssl base64 -A <"$work/$part")" = "$(field $part)" ] || die "line $2 of $1 has a $part in another spelling"
    done
    mv "$work/payload" "$work/body"
}

statement() { [ "$type" = "application/vnd.in-toto+json" ] || die "line $2 of $1 is signed as something else: $type"; }

# check_line FILE NUMBER: after take_line; the line must be signed by the key.
check_line() {
    [ "$named" = "$keyid" ] || die "line $2 of $1 is not by this key but by $named"
    statement "$1" "$2"
    size=$(wc -c <"$work/body")
    {
        printf 'DSSEv1 %d %s %d ' "${#type}" "$type" "$size"
        cat "$work/body"
    } >"$work/pae"
    openssl pkeyutl -verify -pubin -inkey "$key" -rawin -in "$work/pae" -sigfile "$work/sig" >/dev/null 2>&1 ||
        die "the signature of line $2 of $1 is not by this key over this text"
}

# From here on $work/body is what the key's owner wrote. Quotes inside of strings are escaped there, so these patterns only meet keys.
# The place of a line: its log, the digest of the line before it, its number from 0; and what it is about.
PLACE='.*chain":{"log_id":"\([0-9a-f]\{32\}\)","prev":"\([0-9a-f]\{64\}\)","seq":\([0-9]\{1,\}\)}.*'
log_of() { sed -n "s/$PLACE/\1/p" "$work/body"; }
prev() { sed -n "s/$PLACE/\2/p" "$work/body"; }
seq_of() { sed -n "s/$PLACE/\3/p" "$work/body"; }
subject() { sed -n 's/.*"subject":\[{"digest":{"sha256":"\([0-9a-f]\{64\}\)"},"name":"[^"]*"}\]}$/\1/p' "$work/body"; }
# is_a TYPE: that is what the statement says.
is_a() { grep -q '"predicateType":"'"$1"'","subject":' "$work/body"; }

openssl pkey -pubin -in "$key" -outform DER >"$work/key" 2>/dev/null || die "$key is not a public key in PEM"
keyid=$(sha256 "$work/key")
digest=$(sha256 "$artifact")
[ -z "$(tail -c 1 "$sidecar")" ] || die "$sidecar is cut off"
lines=$(wc -l <"$sidecar")
[ "$lines" -ge 2 ] || die "there should be two receipts beside $artifact"
for number in 1 2; do
    take_line "$sidecar" "$number"
    check_line "$sidecar" "$number"
    [ "$(subject)" = "$digest" ] || die "line $number of $sidecar is about another file: the artifact was changed"
    [ -n "$(prev)" ] || die "line $number of $sidecar does not say what it follows"
    if [ "$number" = 1 ]; then
        is_a 'https:\/\/slsa.dev\/provenance\/v1' || die "line 1 of $sidecar is not the provenance"
        id=$(log_of) next=$(($(seq_of) + 1)) before=$(sha256 "$work/line")
    else
        is_a 'urn:kolm:receipt:v1' || die "line 2 of $sidecar is not a receipt of kolm"
        [ "$(log_of) $(prev) $(seq_of)" = "$id $before $next" ] || die "line 2 of $sidecar does not follow the line before it"
        last=$(sha256 "$work/line") place=$next
    fi
done
# What others added says nothing about the artifact, and must not pass for its signer's.
number=3
while [ "$number" -le "$lines" ]; do
    take_line "$sidecar" "$number"
    [ "$named" != "$keyid" ] || die "line $number of $sidecar names this key, whose lines are the first two and no more"
    number=$((number + 1))
done

# heads: LOG ID, NUMBER, DIGEST of each last line that kolm appended, from the file beside the log.
heads() {
    [ -f "$log.heads" ] || return 0
    tr '{' '\n' <"$log.heads" | sed -n 's/^"log_id":"\([0-9a-f]\{32\}\)","seq":\([0-9]\{1,\}\),"sha256":"\([0-9a-f]\{64\}\)"}.*/\1 \2 \3/p'
}

if [ -n "$log" ]; then
    readable "$log" || die "cannot read $log"
    # wc counts line feeds: a last line without one was never acknowledged, and is passed over.
    lines=$(wc -l <"$log")
    before=0000000000000000000000000000000000000000000000000000000000000000 number=1 found=no
    wanted=$(heads | sed -n "s/^$id //p")
    while [ "$number" -le "$lines" ]; do
        take_line "$log" "$number"
        # A line of another key, as after a rotation, is a link of the chain and no more.
        [ "$named" != "$keyid" ] || check_line "$log" "$number"
        statement "$log" "$number"
        [ "$(log_of)" = "$id" ] || die "line $number of $log belongs to another log"
        [ "$(prev)" = "$before" ] || die "line $number of $log does not follow the line before it"
        [ "$(seq_of)" = "$((number - 1))" ] || die "line $number of $log does not say that it is line $number"
        before=$(sha256 "$work/line")
        [ "$before $number" != "$last $((place + 1))" ] || found=yes
        [ "$wanted" != "$((number - 1)) $before" ] || wanted=""
        number=$((number + 1))
    done
    [ "$found" = yes ] || die "the receipt of $artifact is not in $log"
    [ -z "$wanted" ] || die "$log was cut or changed: its line $((${wanted% *} + 1)) was ${wanted#* }"
    printf 'chain: %d lines, head %s\n' "$lines" "$before"
fi
printf 'verified: %s (sha256 %s) and its receipts are signed by this key\n' "$artifact" "$digest"
