/* SPDX-License-Identifier: Apache-2.0 */
/* The keywords of ssh_config(5): their values, which are supported, and which cause a note because they are not. */
#include "config.h"

#include "kolm/kit/address.h"
#include "kolm/kit/text.h"

#include <ctype.h>
#include <limits.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

typedef kit_status follow(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at, kolm_error_t *err);

/* ---- Single values: the first one wins */

static kit_status set_once(ssh_reader *r, char **slot, const char *value, kolm_error_t *err) {
    return !r->active || *slot != NULL ? KOLM_OK : kit_strdup(value, slot, err);
}

#define TEXT(name, slot)                                                                                               \
    static kit_status name(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at, kolm_error_t *err) {        \
        (void)at;                                                                                                      \
        return set_once(r, &(slot), values->items[0], err);                                                            \
    }
TEXT(set_host_name, r->host_name)
TEXT(set_identity_agent, r->identity_agent)
TEXT(set_revoked, r->revoked_host_keys)
TEXT(set_user, r->config->user)
TEXT(set_ignored, r->ignored)
TEXT(set_ciphers, r->config->ciphers)
TEXT(set_macs, r->config->macs)
TEXT(set_kex, r->config->kex_algorithms)
TEXT(set_host_key_algorithms, r->config->host_key_algorithms)
TEXT(set_pubkey_algorithms, r->config->pubkey_algorithms)

static kit_status set_alias(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at, kolm_error_t *err) {
    (void)at;
    if (!r->active || r->config->host_key_alias != NULL) return KOLM_OK;
    KIT_TRY(kit_strdup(values->items[0], &r->config->host_key_alias, err));
    for (char *p = r->config->host_key_alias; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    return KOLM_OK;
}

static kit_status set_port(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at, kolm_error_t *err) {
    const char *value = values->items[0];
    uint16_t number = 0;
    if (!kit_parse_port(value, &number)) {
        struct servent entry, *found = NULL;
        char room[4096];
        if (isdigit((unsigned char)*value) || getservbyname_r(value, "tcp", &entry, room, sizeof room, &found) != 0 ||
            found == NULL)
            return ssh_bad_line(err, at, "has a Port that is not a number from 1 to 65535");
        number = ntohs((uint16_t)entry.s_port);
    }
    if (r->active && r->config->port == 0) r->config->port = number;
    return KOLM_OK;
}

/* "30", "30s", "5m", "1h30m" in seconds. */
static bool parse_time(const char *text, uint32_t *out) {
    uint64_t total = 0;
    for (const char *p = text; *p != '\0';) {
        uint64_t number = 0, factor = 1;
        if (!isdigit((unsigned char)*p)) return false;
        for (; isdigit((unsigned char)*p); p++) {
            number = number * 10 + (uint64_t)(*p - '0');
            if (number > INT_MAX) return false;
        }
        if (*p != '\0') {
            static const char units[] = "smhdw";
            static const uint32_t seconds[] = {1, 60, 3600, 86400, 604800};
            const char *unit = strchr(units, tolower((unsigned char)*p++));
            if (unit == NULL) return false;
            factor = seconds[unit - units];
        }
        total += number * factor;
        if (total > INT_MAX) return false;
    }
    *out = (uint32_t)total;
    return *text != '\0';
}

static kit_status set_connect_timeout(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at,
                                      kolm_error_t *err) {
    uint32_t seconds = 0;
    if (strcmp(values->items[0], "none") == 0) return KOLM_OK;
    if (!parse_time(values->items[0], &seconds))
        return ssh_bad_line(err, at, "has a ConnectTimeout that is not a number of seconds");
    if (r->active && !r->connect_timeout_set) {
        r->config->connect_timeout_s = seconds;
        r->connect_timeout_set = true;
    }
    return KOLM_OK;
}

static kit_status set_rsa_bits(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at, kolm_error_t *err) {
    uint64_t bits = 0;
    if (!kit_parse_u64(values->items[0], &bits) || bits > INT_MAX)
        return ssh_bad_line(err, at, "has a RequiredRSASize that is not a number of bits");
    if (r->active && !r->rsa_bits_set) {
        r->config->least_rsa_bits = (uint32_t)bits;
        r->rsa_bits_set = true;
    }
    return KOLM_OK;
}

/* ---- Words of a list */

typedef struct word {
    const char *text;
    int value;
} word;

static const word yes_or_no[] = {{"yes", 1}, {"true", 1}, {"no", 0}, {"false", 0}, {NULL, 0}};
static const word checkings[] = {{"yes", KIT_SSH_CHECK_YES},
                                 {"true", KIT_SSH_CHECK_YES},
                                 {"no", KIT_SSH_CHECK_OFF},
                                 {"false", KIT_SSH_CHECK_OFF},
                                 {"off", KIT_SSH_CHECK_OFF},
                                 {"ask", KIT_SSH_CHECK_ASK},
                                 {"accept-new", KIT_SSH_CHECK_ACCEPT_NEW},
                                 {NULL, 0}};
static const word families[] = {{"any", AF_UNSPEC}, {"inet", AF_INET}, {"inet6", AF_INET6}, {NULL, 0}};

static kit_status choose(const ssh_reader *r, const word *words, const char *value, bool *set, int *out,
                         const ssh_place *at, kolm_error_t *err) {
    const word *w = words;
    while (w->text != NULL && strcasecmp(w->text, value) != 0)
        w++;
    if (w->text == NULL)
        return ssh_bad_line(
            err, at, words == yes_or_no ? "must be yes or no, and is \"%.100s\"" : "has the unknown value \"%.100s\"",
            value);
    if (r->active && !*set) {
        *out = w->value;
        *set = true;
    }
    return KOLM_OK;
}

static kit_status set_identities_only(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at,
                                      kolm_error_t *err) {
    int value = r->config->identities_only;
    KIT_TRY(choose(r, yes_or_no, values->items[0], &r->identities_only_set, &value, at, err));
    r->config->identities_only = value != 0;
    return KOLM_OK;
}

static kit_status set_hash(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at, kolm_error_t *err) {
    int value = r->config->hash_known_hosts;
    KIT_TRY(choose(r, yes_or_no, values->items[0], &r->hash_set, &value, at, err));
    r->config->hash_known_hosts = value != 0;
    return KOLM_OK;
}

static kit_status set_checking(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at, kolm_error_t *err) {
    int value = (int)r->config->host_key_checking;
    KIT_TRY(choose(r, checkings, values->items[0], &r->checking_set, &value, at, err));
    r->config->host_key_checking = (kit_ssh_checking)value;
    return KOLM_OK;
}

static kit_status set_family(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at, kolm_error_t *err) {
    return choose(r, families, values->items[0], &r->family_set, &r->config->address_family, at, err);
}

/* ---- Files */

/* These accumulate; duplicates are ignored, as by ssh. */
static kit_status add_once(ssh_reader *r, kit_ssh_list *list, const char *value, kolm_error_t *err) {
    if (!r->active || kit_ssh_list_has(list, value)) return KOLM_OK;
    return kit_ssh_list_add(list, value, strlen(value), err);
}

static kit_status add_identity(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at, kolm_error_t *err) {
    (void)at;
    if (r->active) r->config->identity_files_set = true;
    return add_once(r, &r->identity_files, values->items[0], err);
}

static kit_status add_certificate(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at, kolm_error_t *err) {
    (void)at;
    if (r->active) r->config->certificate_files_set = true;
    return add_once(r, &r->certificate_files, values->items[0], err);
}

/* "none" must be the only value. */
static kit_status set_files(const ssh_reader *r, const kit_ssh_list *values, bool *set, kit_ssh_list *out,
                            const ssh_place *at, kolm_error_t *err) {
    for (size_t i = 0; i < values->count && values->count > 1; i++)
        if (strcasecmp(values->items[i], "none") == 0)
            return ssh_bad_line(err, at, "has other files in addition to \"none\"");
    if (!r->active || *set) return KOLM_OK;
    *set = true;
    for (size_t i = 0; i < values->count; i++)
        KIT_TRY(kit_ssh_list_add(out, values->items[i], strlen(values->items[i]), err));
    return KOLM_OK;
}

static kit_status set_known(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at, kolm_error_t *err) {
    return set_files(r, values, &r->config->known_hosts_set, &r->known_hosts, at, err);
}

static kit_status set_global_known(ssh_reader *r, const kit_ssh_list *values, const ssh_place *at, kolm_error_t *err) {
    return set_files(r, values, &r->config->global_known_hosts_set, &r->global_known_hosts, at, err);
}

/* ---- Jumps. Of ProxyJump and ProxyCommand the first one counts, even if it is "none". */

/* text is checked in any block; if it counts, it is kept as [user@]host[:port], with its tokens unchanged. */
static kit_status add_hop(ssh_reader *r, const char *text, bool counts, const ssh_place *at, kolm_error_t *err) {
    kit_ssh_target hop;
    kit_buf plain = {0};
    kolm_error_t why = KIT_ERROR_INIT;
    kit_status status = ssh_hop_parse(text, &hop, &why);
    if (status == KOLM_E_INVALID_ARGUMENT)
        return ssh_bad_line(
            err, at, "has \"%.200s\" in ProxyJump, which is not a valid hop: [user@]host[:port] or ssh://", text);
    if (status != KOLM_OK) return kit_fail(err, status, why.remedy, "%s", why.text);
    if (!counts) return KOLM_OK;
    status = ssh_target_text(&hop, &plain, err);
    if (status == KOLM_OK) status = kit_ssh_list_add(&r->jumps, plain.data, plain.length, err);
    kit_buf_free(&plain);
    return status;
}

static kit_status set_jump(ssh_reader *r, char *value, const ssh_place *at, kolm_error_t *err) {
    bool counts = r->active && !r->jump_said && !r->command_said;
    value[strcspn(value, "# \t")] = '\0';
    r->jump_said |= counts;
    if (strcasecmp(value, "none") == 0) return KOLM_OK;
    for (char *hop = value, *next; hop != NULL; hop = next) {
        next = strchr(hop, ',');
        if (next != NULL) *next++ = '\0';
        KIT_TRY(add_hop(r, hop, counts, at, err));
    }
    return KOLM_OK;
}

static kit_status set_command(ssh_reader *r, const char *value, const ssh_place *at, kolm_error_t *err) {
    if (!r->active || r->jump_said || r->command_said) return KOLM_OK;
    r->command_said = true;
    if (strcasecmp(value, "none") == 0) return KOLM_OK;
    return ssh_note(r, at, "ProxyCommand is not run, and the connection goes directly to the host: use ProxyJump", err);
}

/* ---- Unsupported keywords */

/* These affect which host is reached or trusted: a note is added unless the value requests what kolm does anyway. */
typedef struct unfollowed {
    const char *name, *harmless, *what;
} unfollowed;

static const unfollowed named[] = {
    {"bindaddress", "", "BindAddress is ignored: the system chooses the address of this side"},
    {"bindinterface", "", "BindInterface is ignored: the system chooses the interface"},
    {"canonicalizehostname", "no,false,none", "CanonicalizeHostname is ignored: write the full name, or set HostName"},
    {"checkhostip", "no,false", "CheckHostIP is ignored: keys are looked up by name only"},
    {"knownhostscommand", "none", "KnownHostsCommand is not run: the keys that it would print are not known"},
    {"nohostauthenticationforlocalhost", "no,false",
     "NoHostAuthenticationForLocalhost is ignored: the key of every host is checked"},
    {"pkcs11provider", "none", "PKCS11Provider is not used: add its keys to ssh-agent (ssh-add -s)"},
    {"smartcarddevice", "none", "PKCS11Provider is not used: add its keys to ssh-agent (ssh-add -s)"},
    {"pubkeyauthentication", "yes,true,unbound,host-bound",
     "PubkeyAuthentication no is ignored: kolm logs in with keys only"},
    {"verifyhostkeydns", "no,false", "VerifyHostKeyDNS is ignored: keys are not looked up in the DNS"},
};

/* These are irrelevant to a non-interactive connection that runs one program. The second part are keywords of older,
 * later and other builds of ssh. */
static const char *const unneeded[] = {
    /* clang-format off */
    "addkeystoagent", "batchmode", "canonicaldomains", "canonicalizefallbacklocal", "canonicalizemaxdots",
    "canonicalizepermittedcnames", "casignaturealgorithms", "challengeresponseauthentication",
    "clearallforwardings", "compression", "connectionattempts", "controlmaster", "controlpath",
    "controlpersist", "dynamicforward", "enableescapecommandline", "enablesshkeysign", "escapechar",
    "exitonforwardfailure", "fingerprinthash", "forkafterauthentication", "forwardagent", "forwardx11",
    "forwardx11timeout", "forwardx11trusted", "gatewayports", "gssapiauthentication", "gssapiclientidentity",
    "gssapidelegatecredentials", "gssapikexalgorithms", "gssapikeyexchange", "gssapirenewalforcesrekey",
    "gssapiserveridentity", "gssapitrustdns", "hostbasedacceptedalgorithms", "hostbasedauthentication",
    "hostbasedkeytypes", "ipqos", "kbdinteractiveauthentication", "kbdinteractivedevices", "localcommand",
    "localforward", "loglevel", "logverbose", "numberofpasswordprompts", "passwordauthentication",
    "permitlocalcommand", "permitremoteopen", "preferredauthentications", "proxyusefdpass", "rekeylimit",
    "remotecommand", "remoteforward", "requesttty", "securitykeyprovider", "sendenv", "serveralivecountmax",
    "serveraliveinterval", "sessiontype", "setenv", "stdinnull", "streamlocalbindmask", "streamlocalbindunlink",
    "syslogfacility", "tcpkeepalive", "tunnel", "tunneldevice", "updatehostkeys", "visualhostkey",
    "xauthlocation",

    "afstokenpassing", "channeltimeout", "cipher", "compressionlevel", "dsaauthentication", "fallbacktorsh",
    "globalknownhostsfile2", "keepalive", "kerberosauthentication", "kerberostgtpassing",
    "obscurekeystroketiming", "protocol", "protocolkeepalives", "rhostsauthentication",
    "rhostsrsaauthentication", "rsaauthentication", "setuptimeout", "skeyauthentication", "tag",
    "tisauthentication", "usekeychain", "useblacklistedkeys", "useprivilegedport", "userknownhostsfile2",
    "useroaming", "usersh", "versionaddendum", "warnweakcrypto",
    /* clang-format on */
};

/* ---- The table */

static const struct {
    const char *name;
    follow *follow;
    bool many; /* accepts several values */
} followed[] = {
    {"addressfamily", set_family, false},
    {"certificatefile", add_certificate, false},
    {"ciphers", set_ciphers, false},
    {"connecttimeout", set_connect_timeout, false},
    {"globalknownhostsfile", set_global_known, true},
    {"hashknownhosts", set_hash, false},
    {"hostkeyalgorithms", set_host_key_algorithms, false},
    {"hostkeyalias", set_alias, false},
    {"hostname", set_host_name, false},
    {"identitiesonly", set_identities_only, false},
    {"identityagent", set_identity_agent, false},
    {"identityfile", add_identity, false},
    {"identityfile2", add_identity, false},
    {"ignoreunknown", set_ignored, false},
    {"kexalgorithms", set_kex, false},
    {"macs", set_macs, false},
    {"port", set_port, false},
    {"pubkeyacceptedalgorithms", set_pubkey_algorithms, false},
    {"pubkeyacceptedkeytypes", set_pubkey_algorithms, false},
    {"requiredrsasize", set_rsa_bits, false},
    {"rsaminsize", set_rsa_bits, false},
    {"revokedhostkeys", set_revoked, false},
    {"stricthostkeychecking", set_checking, false},
    {"user", set_user, false},
    {"userknownhostsfile", set_known, true},
};

/* *out_known: key is a supported keyword. */
static kit_status apply_followed(ssh_reader *r, const char *key, const kit_ssh_list *values, const ssh_place *at,
                                 bool *out_known, kolm_error_t *err) {
    for (size_t i = 0; i < sizeof followed / sizeof *followed; i++) {
        if (strcmp(key, followed[i].name) != 0) continue;
        *out_known = true;
        if (values->count > 1 && !followed[i].many)
            return ssh_bad_line(err, at, "has more than one value: quote values with spaces");
        for (size_t k = 0; k < values->count; k++)
            if (values->items[k][0] == '\0') return ssh_bad_line(err, at, "has an empty value");
        return followed[i].follow(r, values, at, err);
    }
    return KOLM_OK;
}

static kit_status apply_unfollowed(ssh_reader *r, const char *key, const char *value, const ssh_place *at,
                                   bool *out_known, kolm_error_t *err) {
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        if (strcmp(key, named[i].name) != 0) continue;
        *out_known = true;
        return !r->active || ssh_match_patterns(value, named[i].harmless, false) ? KOLM_OK
                                                                                 : ssh_note(r, at, named[i].what, err);
    }
    for (size_t i = 0; i < sizeof unneeded / sizeof *unneeded && !*out_known; i++)
        *out_known = strcmp(key, unneeded[i]) == 0;
    return KOLM_OK;
}

kit_status ssh_apply(ssh_reader *r, const char *keyword, const kit_ssh_list *values, const char *rest,
                     const ssh_place *at, kolm_error_t *err) {
    char key[64], shown[64];
    bool known = false;
    kit_copy(key, sizeof key, strlen(keyword) < sizeof key ? keyword : "");
    for (char *p = key; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    if (strcmp(key, "proxyjump") == 0 || strcmp(key, "proxycommand") == 0) {
        char *line = NULL;
        KIT_TRY(kit_strdup(rest, &line, err));
        kit_status status = key[5] == 'j' ? set_jump(r, line, at, err) : set_command(r, line, at, err);
        free(line);
        return status;
    }
    if (strcmp(key, "refuseconnection") == 0)
        return r->active ? ssh_bad_line(err, at, "refuses this connection: %.200s", rest) : KOLM_OK;
    KIT_TRY(apply_followed(r, key, values, at, &known, err));
    if (!known) KIT_TRY(apply_unfollowed(r, key, values->count > 0 ? values->items[0] : "", at, &known, err));
    if (known || (r->ignored != NULL && ssh_match_patterns(key, r->ignored, true))) return KOLM_OK;
    kit_format(shown, sizeof shown, "%.40s", keyword);
    for (char *p = shown; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7F) *p = '?';
    kit_status status = ssh_bad_line(err, at, "has the keyword \"%s\", which ssh does not know", shown);
    if (err != NULL)
        kit_copy(err->remedy, sizeof err->remedy, "correct its spelling, or put IgnoreUnknown with its name above it");
    return status;
}
