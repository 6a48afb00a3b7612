/* SPDX-License-Identifier: Apache-2.0 */
/* backend.h for C++17: slots report errors by throwing; no exception leaves the plugin. Header only; optional. */
#ifndef KOLM_BACKEND_HPP
#define KOLM_BACKEND_HPP

/*
 * The contract is backend.h; this header only wraps it. A backend is a class with one static function per slot:
 *
 *     struct acme {
 *         static void detect(kolm::host host, const kolm_detect_args_t &args, kolm_detect_result_t &result);
 *         static void cost(kolm::host host, const kolm_cost_args_t &args, kolm_cost_result_t &result);
 *         static void train(kolm::host host, const kolm_train_args_t &args, kolm_train_result_t &result);
 *     };
 *     constexpr kolm_backend_v1_t kolm_backend_v1 = // extern "C" and visible, as declared in backend.h
 *         kolm::table<acme>({"acme", "1.0.0", "ACME", "Apache-2.0", "https://..."}, KOLM_FEATURE_MODEL_SLICES);
 *
 * Link with the version script that `kolm backend new` writes: otherwise templates of the standard library are exported.
 *
 * A slot that the class does not define is NULL in the table: not implemented. A slot returns on success and throws on
 * failure: kolm::failure is reported with its code, text and remedy; std::bad_alloc as RESOURCE_EXHAUSTED;
 * std::system_error and std::filesystem_error as UNKNOWN with their message; any other std::exception as INTERNAL with its
 * what(); anything else as INTERNAL. No exception leaves the plugin. This header requires exceptions (no -fno-exceptions).
 *
 * Objects with static storage duration are constructed whenever a process loads the plugin, also for detect: keep their
 * constructors cheap. The table itself is constant-initialised.
 *
 * Threads: kolm::host may be copied to and used from any thread; it is valid until its slot returns.
 */

#include <kolm/backend.h>

#include <cmath>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>

namespace kolm {

/* Copies as much of text as fits, NUL terminated, truncated at a UTF-8 character boundary. */
template <std::size_t N> void copy(char (&out)[N], std::string_view text) noexcept {
    std::size_t n = text.size() < N ? text.size() : N - 1;
    if (n < text.size())
        while (n > 0 && (static_cast<unsigned char>(text[n]) & 0xC0) == 0x80)
            n--;
    std::memcpy(out, text.data(), n);
    out[n] = '\0';
}

/* Thrown by a slot: a KOLM_E_* code, what happened to what, and what to do next. */
class failure : public std::runtime_error {
  public:
    failure(std::int32_t code, const std::string &text, std::string remedy = {})
        : std::runtime_error(text), code_(code), remedy_(std::move(remedy)) {}
    std::int32_t code() const noexcept {
        return code_;
    }
    const std::string &remedy() const noexcept {
        return remedy_;
    }

  private:
    std::int32_t code_;
    std::string remedy_;
};

/* The services of kolm_host_v1_t. */
class host {
  public:
    explicit host(const kolm_host_v1_t *raw) noexcept : raw_(raw) {}
    const kolm_host_v1_t *raw() const noexcept {
        return raw_;
    }

    /* level: KOLM_LOG_*. */
    void log(std::uint32_t level, const std::string &text) const {
        raw_->log(raw_->user, level, text.c_str());
    }
    /* phase: a present participle; loss and speed are NaN if there is none. */
    void progress(const char *phase, std::uint64_t step, std::uint64_t total = KOLM_UNKNOWN_COUNT, double loss = NAN,
                  double tokens_per_second = NAN) const {
        kolm_progress_t p{};
        p.struct_size = sizeof p;
        p.step = step;
        p.total = total;
        p.loss = loss;
        p.tokens_per_second = tokens_per_second;
        p.phase = phase;
        raw_->progress(raw_->user, &p);
    }
    void metric(const std::string &name, double value) const {
        raw_->metric(raw_->user, name.c_str(), value);
    }
    void device(kolm_device_t d) const {
        d.struct_size = sizeof d;
        raw_->device(raw_->user, &d);
    }
    void step(std::uint32_t number, std::uint32_t total, const char *title, std::uint32_t outcome,
              const std::string &note = {}) const {
        kolm_test_step_t s{};
        s.struct_size = sizeof s;
        s.outcome = outcome;
        s.number = number;
        s.total = total;
        s.title = title;
        s.note = note.c_str();
        raw_->test_step(raw_->user, &s);
    }
    /* Records one event of a lease. Throws if it was not recorded (always, if the host is older than ABI 1.2): create
     * nothing then. */
    void lease(kolm_lease_t l) const {
        kolm_error_t err{};
        err.struct_size = sizeof err;
        l.struct_size = sizeof l;
        if (!KOLM_HAS(kolm_host_v1_t, raw_, lease) || raw_->lease == nullptr)
            throw failure(KOLM_E_UNIMPLEMENTED, "this version of kolm cannot record leases", "install a newer kolm");
        std::int32_t code = raw_->lease(raw_->user, &l, &err);
        if (code != KOLM_OK) throw failure(code, err.text, err.remedy);
    }
    bool cancelled() const {
        return raw_->cancelled(raw_->user) != 0;
    }
    /* Throws CANCELLED if the user asked to stop. Call it in every loop. */
    void heed() const {
        if (cancelled()) throw failure(KOLM_E_CANCELLED, "stopped on request");
    }
    std::int64_t time_left_ms() const {
        return raw_->time_left_ms(raw_->user);
    }
    /* A secret or a setting of at most 65536 bytes; none if it is not set or may not be read. */
    std::optional<std::string> secret(const char *name) const {
        return text(raw_->secret, name);
    }
    std::optional<std::string> setting(const char *key) const {
        return text(raw_->setting, key);
    }
    const char *scratch_dir() const noexcept {
        return raw_->scratch_dir;
    }

  private:
    using text_fn = std::int32_t (*)(void *, const char *, char *, std::uint64_t, std::uint64_t *);
    std::optional<std::string> text(text_fn get, const char *name) const {
        std::string value(256, '\0');
        std::uint64_t length = 0;
        std::int32_t code = get(raw_->user, name, value.data(), value.size(), &length);
        if (code == KOLM_E_OUT_OF_RANGE && length < 65536) {
            value.resize(static_cast<std::size_t>(length) + 1);
            code = get(raw_->user, name, value.data(), value.size(), &length);
        }
        if (code != KOLM_OK) return std::nullopt;
        value.resize(static_cast<std::size_t>(length));
        return value;
    }
    const kolm_host_v1_t *raw_;
};

namespace detail {

inline std::int32_t fail(kolm_error_t *err, std::int32_t code, std::string_view text,
                         std::string_view remedy) noexcept {
    err->code = code;
    copy(err->text, text);
    copy(err->remedy, remedy);
    return code;
}

/* Must be called inside a catch block. */
inline std::int32_t caught(kolm_error_t *err) noexcept {
    try {
        throw;
    } catch (const failure &e) {
        return fail(err, e.code() != KOLM_OK ? e.code() : KOLM_E_UNKNOWN, e.what(), e.remedy());
    } catch (const std::bad_alloc &) {
        return fail(err, KOLM_E_RESOURCE_EXHAUSTED, "out of memory", "close other programs or raise the limit");
    } catch (const std::system_error &e) {
        return fail(err, KOLM_E_UNKNOWN, e.what(), "");
    } catch (const std::exception &e) {
        return fail(err, KOLM_E_INTERNAL, e.what(), "report this to the author of the backend");
    } catch (...) {
        return fail(err, KOLM_E_INTERNAL, "it threw something that is not a std::exception",
                    "report this to the author of the backend");
    }
}

template <class Args, class Result, void (*slot)(host, const Args &, Result &)>
std::int32_t call(const kolm_host_v1_t *h, const Args *args, Result *out, kolm_error_t *err) noexcept {
    try {
        slot(host(h), *args, *out);
        return KOLM_OK;
    } catch (...) {
        return caught(err);
    }
}

#define KOLM_DETAIL_SLOT(slot)                                                                                         \
    template <class B, class = void> struct slot##_of { static constexpr kolm_##slot##_fn value = nullptr; };          \
    template <class B> struct slot##_of<B, std::void_t<decltype(&B::slot)>> {                                          \
        static constexpr kolm_##slot##_fn value = &call<kolm_##slot##_args_t, kolm_##slot##_result_t, &B::slot>;       \
    };
KOLM_DETAIL_SLOT(detect)
KOLM_DETAIL_SLOT(cost)
KOLM_DETAIL_SLOT(train)
KOLM_DETAIL_SLOT(infer)
KOLM_DETAIL_SLOT(test)
KOLM_DETAIL_SLOT(status)
KOLM_DETAIL_SLOT(reclaim)
#undef KOLM_DETAIL_SLOT

} // namespace detail

/* Identity of a backend. The strings must stay valid until the process exits. */
struct identity {
    const char *name, *version, *vendor, *licence, *homepage;
};

/* Returns the table of Backend. features: KOLM_FEATURE_* that it offers; required: those of the host that it requires. */
template <class Backend>
constexpr kolm_backend_v1_t table(identity who, std::uint64_t features = 0, std::uint64_t required = 0,
                                  std::uint16_t host_minor_needed = 0) noexcept {
    return kolm_backend_v1_t{
        static_cast<std::uint32_t>(sizeof(kolm_backend_v1_t)),
        KOLM_ABI_MAJOR,
        KOLM_ABI_MINOR,
        required,
        KOLM_FINGERPRINT,
        host_minor_needed,
        0,
        features,
        who.name,
        who.version,
        who.vendor,
        who.licence,
        who.homepage,
        detail::detect_of<Backend>::value,
        detail::cost_of<Backend>::value,
        detail::train_of<Backend>::value,
        detail::infer_of<Backend>::value,
        detail::test_of<Backend>::value,
        detail::status_of<Backend>::value,
        detail::reclaim_of<Backend>::value,
    };
}

} // namespace kolm

#endif
