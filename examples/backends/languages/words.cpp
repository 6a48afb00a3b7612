// SPDX-License-Identifier: Apache-2.0
// A backend in C++17: counts which words stand under which label. kolm/backend.hpp keeps exceptions inside.
#include <kolm/backend.hpp>
#include <kolm/kit/file.h>
#include <kolm/kit/job.h>
#include <kolm/kit/lines.h>

#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <unistd.h>

namespace {

constexpr char toolchain[] = "words-cpp 1.0.0";

// The kit reports by a status and a record; here by what a slot throws.
void must(kit_status status, const kolm_error_t &err) {
    if (status != KOLM_OK) throw kolm::failure(status, err.text, err.remedy);
}

using json = std::unique_ptr<cJSON, decltype(&cJSON_Delete)>;
json parse(std::string_view text) {
    cJSON *value = nullptr;
    kolm_error_t err{};
    must(kit_json_parse(text.data(), text.size(), &value, &err), err);
    return json(value, cJSON_Delete);
}

std::string get(const cJSON *object, const char *key) {
    const char *text = nullptr;
    if (!kit_json_get_string(object, key, &text))
        throw kolm::failure(KOLM_E_INVALID_ARGUMENT, std::string("a row lacks \"") + key + "\"");
    return text;
}

std::string quoted(const std::string &text) {
    kit_buf out{};
    kit_json_string(&out, text.data(), text.size());
    std::string value = kit_buf_text(&out);
    kit_buf_free(&out);
    return value;
}

class model {
  public:
    void learn(const std::string &input, const std::string &label) {
        std::istringstream words(input);
        for (std::string word; words >> word;)
            counts_[word][label]++;
        counts_[""][label]++; // what to say when no word is known
    }
    std::pair<std::string, double> answer(const std::string &input) const {
        std::map<std::string, double> votes;
        std::istringstream words(input);
        for (std::string word; words >> word;)
            vote(word, votes);
        if (votes.empty()) vote("", votes);
        double sum = 0;
        auto best = votes.begin();
        for (auto it = votes.begin(); it != votes.end(); ++it) {
            sum += it->second;
            if (it->second > best->second) best = it;
        }
        return {best->first, best->second / sum};
    }
    // One line a word and label, sorted: the same rows give the same bytes.
    void write(std::ostream &out) const {
        for (const auto &[word, labels] : counts_)
            for (const auto &[label, count] : labels)
                out << "{\"word\":" << quoted(word) << ",\"label\":" << quoted(label) << ",\"count\":" << count << "}\n";
    }
    void read(std::istream &in) {
        for (std::string line; std::getline(in, line);) {
            json row = parse(line);
            std::uint64_t count = 0;
            if (!kit_json_get_u64(row.get(), "count", &count))
                throw kolm::failure(KOLM_E_DATA_LOSS, "the model is damaged", "compile it again");
            counts_[get(row.get(), "word")][get(row.get(), "label")] = count;
        }
        if (counts_[""].empty()) throw kolm::failure(KOLM_E_DATA_LOSS, "this is not a model of words-cpp", "compile it again");
    }
    bool empty() const { return counts_.empty(); }

  private:
    void vote(const std::string &word, std::map<std::string, double> &votes) const {
        auto known = counts_.find(word);
        if (known == counts_.end()) return;
        double of = 0;
        for (const auto &[label, count] : known->second)
            of += static_cast<double>(count);
        for (const auto &[label, count] : known->second)
            votes[label] += static_cast<double>(count) / of;
    }
    std::map<std::string, std::map<std::string, std::uint64_t>> counts_;
};

struct lines {
    explicit lines(const char *path) : fd(open(path, O_RDONLY | O_CLOEXEC)) {
        kolm_error_t err{};
        if (fd < 0) must(kit_fail_errno(&err, errno, "cannot open %s", path), err);
        must(kit_lines_open(fd, 17u << 20, &reader, &err), err);
    }
    lines(const lines &) = delete;
    lines &operator=(const lines &) = delete;
    ~lines() {
        kit_lines_close(reader);
        if (fd >= 0) close(fd);
    }
    bool next(std::string_view &out) {
        const char *line = nullptr;
        std::size_t length = 0;
        kolm_error_t err{};
        must(kit_lines_next(reader, &line, &length, &err), err);
        if (line != nullptr) out = {line, length};
        return line != nullptr;
    }
    int fd;
    kit_lines *reader = nullptr;
};

struct words {
    static void detect(kolm::host, const kolm_detect_args_t &, kolm_detect_result_t &result) {
        result.state = KOLM_DETECT_AVAILABLE;
        kolm::copy(result.reason, "needs nothing but a processor");
        kolm::copy(result.runtime, toolchain);
    }

    static void cost(kolm::host, const kolm_cost_args_t &args, kolm_cost_result_t &result) {
        result.billing = KOLM_BILLING_FREE;
        result.duration_ms = args.rows < UINT64_MAX / 2 ? 100 + args.rows / 100 : UINT64_MAX;
        result.confidence = KOLM_CONFIDENCE_MODEL;
        kolm::copy(result.basis, "100,000 rows a second");
    }

    static void train(kolm::host host, const kolm_train_args_t &args, kolm_train_result_t &result) {
        const std::filesystem::path job = args.job_dir;
        kit_job *description = nullptr;
        kolm_error_t err{};
        must(kit_job_read(args.job_dir, &description, &err), err);
        const std::uint64_t total = description->rows;
        kit_job_free(description);
        model m;
        std::uint64_t done = 0;
        lines rows((job / "train.jsonl").c_str());
        for (std::string_view line; rows.next(line);) {
            json row = parse(line);
            m.learn(get(row.get(), "input"), get(row.get(), "output"));
            if (++done % 1024 == 0) host.progress("training", done, total);
            host.heed();
        }
        if (m.empty()) throw kolm::failure(KOLM_E_INVALID_ARGUMENT, "there is nothing to learn from", "give it rows");
        std::filesystem::create_directories(job / "model");
        std::ofstream out;
        out.exceptions(std::ios::failbit | std::ios::badbit);
        out.open(job / "model" / "words.jsonl");
        m.write(out);
        out.close();
        out.open(job / "result.json");
        out << "{\"format\":1,\"toolchain\":\"" << toolchain << "\",\"report\":{}}\n";
        out.close();
        result.billed_micro_usd = 0;
        kolm::copy(result.device, "this machine's processor");
        kolm::copy(result.toolchain, toolchain);
    }

    // Without KOLM_FEATURE_MODEL_SLICES kolm puts the model's files into the job directory.
    static void infer(kolm::host host, const kolm_infer_args_t &args, kolm_infer_result_t &result) {
        model m;
        std::ifstream in(std::filesystem::path(args.job_dir) / "model" / "words.jsonl");
        if (!in) throw kolm::failure(KOLM_E_NOT_FOUND, "the model has no words.jsonl", "compile it again");
        m.read(in);
        std::ofstream out(args.output_path);
        out.exceptions(std::ios::failbit | std::ios::badbit);
        lines questions(args.input_path);
        for (std::string_view line; questions.next(line);) {
            json row = parse(line);
            auto [label, confidence] = m.answer(get(row.get(), "input"));
            char number[32];
            std::snprintf(number, sizeof number, "%.6f", confidence);
            out << "{\"id\":" << quoted(get(row.get(), "id")) << ",\"output\":" << quoted(label) << ",\"confidence\":" << number << "}\n";
            result.answers++;
            if (!kit_lines_ready(questions.reader)) out.flush();
            host.heed();
        }
        out.close();
        result.billed_micro_usd = 0;
        kolm::copy(result.device, "this machine's processor");
    }

    static void test(kolm::host host, const kolm_test_args_t &, kolm_test_result_t &result) {
        host.step(1, 4, "auth check", KOLM_STEP_SKIPPED, "needs no account");
        host.step(2, 4, "container provision (cold)", KOLM_STEP_SKIPPED, "runs on this machine");
        model m;
        m.learn("parcel late", "shipping");
        m.learn("charged twice", "billing");
        host.step(3, 4, "trainer dry run (no weights)", KOLM_STEP_OK);
        const bool right = m.answer("charged again").first == "billing";
        host.step(4, 4, "receipt round-trip", right ? KOLM_STEP_OK : KOLM_STEP_FAILED);
        result.passed = right;
        kolm::copy(result.summary, right ? "words-cpp is ready for kolm compile" : "words-cpp answers wrongly");
    }
};

} // namespace

constexpr kolm_backend_v1_t kolm_backend_v1 = kolm::table<words>({"words-cpp", "1.0.0", "kolm", "Apache-2.0", ""});
