// SPDX-License-Identifier: Apache-2.0
// A backend in Go: counts which words stand under which label. A Go program in a shared object brings its runtime: threads that
// outlive a call, and handlers of its own for signals. `kolm backend check` is told so by name (--unsupported, README.md).
//
//	CGO_CFLAGS=... CGO_LDFLAGS=... go build -buildmode=c-shared -o words-go.so .
package main

/*
#include <kolm/backend.h>
#include <stdlib.h>
static inline int32_t host_cancelled(const kolm_host_v1_t *host) { return host->cancelled(host->user); }
static inline void host_progress(const kolm_host_v1_t *host, uint64_t step, uint64_t total) {
    kolm_progress_t p = {.struct_size = sizeof p, .step = step, .total = total, .loss = __builtin_nan(""),
                         .tokens_per_second = __builtin_nan(""), .phase = "training"};
    host->progress(host->user, &p);
}
static inline void host_step(const kolm_host_v1_t *host, uint32_t number, const char *title, uint32_t outcome, const char *note) {
    kolm_test_step_t s = {.struct_size = sizeof s, .outcome = outcome, .number = number, .total = 4, .title = title, .note = note};
    host->test_step(host->user, &s);
}
*/
import "C"

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"unicode/utf8"
	"unsafe"
)

const toolchain = "words-go 1.0.0"
const processor = "this machine's processor"

type failure struct {
	code         C.int32_t
	text, remedy string
}

func (f failure) Error() string { return f.text }

type row struct {
	ID     string  `json:"id"`
	Input  *string `json:"input"`
	Output string  `json:"output"`
	Word   string  `json:"word"`
	Label  string  `json:"label"`
	Count  uint64  `json:"count"`
}

type model map[string]map[string]uint64

func (m model) add(word, label string, count uint64) {
	if m[word] == nil {
		m[word] = map[string]uint64{}
	}
	m[word][label] += count
}

func (m model) learn(input, label string) {
	for _, word := range append(strings.Fields(input), "") { // "" is what to say when no word is known
		m.add(word, label, 1)
	}
}

func (m model) vote(word string, votes map[string]float64) {
	of := uint64(0)
	for _, count := range m[word] {
		of += count
	}
	for label, count := range m[word] {
		votes[label] += float64(count) / float64(of)
	}
}

func (m model) answer(input string) (string, float64) {
	votes := map[string]float64{}
	for _, word := range strings.Fields(input) {
		m.vote(word, votes)
	}
	if len(votes) == 0 {
		m.vote("", votes)
	}
	best, sum := "", 0.0
	for _, label := range keys(votes) {
		sum += votes[label]
		if best == "" || votes[label] > votes[best] {
			best = label
		}
	}
	return best, votes[best] / sum
}

// keys is sorted: a map of Go has another order in every run, and the same rows must give the same bytes.
func keys[V any](m map[string]V) []string {
	sorted := make([]string, 0, len(m))
	for key := range m {
		sorted = append(sorted, key)
	}
	sort.Strings(sorted)
	return sorted
}

func put(out []C.char, text string) {
	n := len(text)
	if n >= len(out) {
		for n = len(out) - 1; n > 0 && !utf8.RuneStart(text[n]); n-- {
		}
	}
	for i := 0; i < n; i++ {
		out[i] = C.char(text[i])
	}
	out[n] = 0
}

func heed(host *C.kolm_host_v1_t) error {
	if C.host_cancelled(host) != 0 {
		return failure{C.KOLM_E_CANCELLED, "stopped on request", ""}
	}
	return nil
}

// border turns errors and panics into the record: neither may leave the plugin.
func border(err *C.kolm_error_t, slot func() error) (code C.int32_t) {
	defer func() {
		if problem := recover(); problem != nil {
			code = C.KOLM_E_INTERNAL
			err.code = code
			put(err.text[:], fmt.Sprint("it panicked: ", problem))
		}
	}()
	problem := slot()
	if problem == nil {
		return C.KOLM_OK
	}
	known := failure{C.KOLM_E_UNKNOWN, problem.Error(), ""}
	errors.As(problem, &known)
	err.code = known.code
	put(err.text[:], known.text)
	put(err.remedy[:], known.remedy)
	return known.code
}

// each calls visit for each row of a file of JSON lines; more tells whether a further one is there already.
func each(path string, visit func(r row, more bool) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader := bufio.NewReader(file)
	for {
		line, err := reader.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return nil
		}
		if err != nil && err != io.EOF {
			return err
		}
		r := row{}
		if err := json.Unmarshal(line, &r); err != nil {
			return failure{C.KOLM_E_INVALID_ARGUMENT, "a line is no JSON: " + err.Error(), ""}
		}
		// A part of a line may be there without its end: then waiting for it is right only after flushing.
		waiting, _ := reader.Peek(reader.Buffered())
		if err := visit(r, strings.ContainsRune(string(waiting), '\n')); err != nil {
			return err
		}
	}
}

//export goDetect
func goDetect(host *C.kolm_host_v1_t, args *C.kolm_detect_args_t, result *C.kolm_detect_result_t, err *C.kolm_error_t) C.int32_t {
	result.state = C.KOLM_DETECT_AVAILABLE
	put(result.reason[:], "needs nothing but a processor")
	put(result.runtime[:], toolchain)
	return C.KOLM_OK
}

//export goCost
func goCost(host *C.kolm_host_v1_t, args *C.kolm_cost_args_t, result *C.kolm_cost_result_t, err *C.kolm_error_t) C.int32_t {
	result.billing = C.KOLM_BILLING_FREE
	result.duration_ms = ^C.uint64_t(0)
	if args.rows < ^C.uint64_t(0)/2 {
		result.duration_ms = 100 + args.rows/100
	}
	result.confidence = C.KOLM_CONFIDENCE_MODEL
	put(result.basis[:], "100,000 rows a second")
	return C.KOLM_OK
}

func train(host *C.kolm_host_v1_t, job string) error {
	var description struct {
		Rows uint64 `json:"rows"`
	}
	text, err := os.ReadFile(filepath.Join(job, "job.json"))
	if err == nil {
		err = json.Unmarshal(text, &description)
	}
	if err != nil {
		return err
	}
	m, done := model{}, uint64(0)
	err = each(filepath.Join(job, "train.jsonl"), func(r row, more bool) error {
		if r.Input == nil || r.Output == "" {
			return failure{C.KOLM_E_INVALID_ARGUMENT, "a row lacks input or output", ""}
		}
		m.learn(*r.Input, r.Output)
		if done++; done%1024 == 0 {
			C.host_progress(host, C.uint64_t(done), C.uint64_t(description.Rows))
		}
		return heed(host)
	})
	if err == nil && done == 0 {
		err = failure{C.KOLM_E_INVALID_ARGUMENT, "there is nothing to learn from", "give it rows"}
	}
	if err != nil {
		return err
	}
	var out strings.Builder
	encoder := json.NewEncoder(&out)
	for _, word := range keys(m) {
		for _, label := range keys(m[word]) {
			if err := encoder.Encode(map[string]any{"word": word, "label": label, "count": m[word][label]}); err != nil {
				return err
			}
		}
	}
	if err := os.MkdirAll(filepath.Join(job, "model"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(job, "model", "words.jsonl"), []byte(out.String()), 0o600); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(job, "result.json"), []byte(`{"format":1,"toolchain":"`+toolchain+`","report":{}}`+"\n"), 0o600)
}

//export goTrain
func goTrain(host *C.kolm_host_v1_t, args *C.kolm_train_args_t, result *C.kolm_train_result_t, err *C.kolm_error_t) C.int32_t {
	return border(err, func() error {
		result.billed_micro_usd = 0
		put(result.device[:], processor)
		put(result.toolchain[:], toolchain)
		return train(host, C.GoString(args.job_dir))
	})
}

func infer(host *C.kolm_host_v1_t, job, input, output string) (answers uint64, err error) {
	m := model{}
	err = each(filepath.Join(job, "model", "words.jsonl"), func(r row, more bool) error {
		m.add(r.Word, r.Label, r.Count)
		return nil
	})
	if err == nil && len(m[""]) == 0 {
		err = failure{C.KOLM_E_DATA_LOSS, "this is not a model of words-go", "compile it again"}
	}
	if err != nil {
		return 0, err
	}
	file, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	out := bufio.NewWriter(file)
	encoder := json.NewEncoder(out)
	err = each(input, func(r row, more bool) error {
		if r.Input == nil {
			return failure{C.KOLM_E_INVALID_ARGUMENT, "a question lacks its input", ""}
		}
		label, confidence := m.answer(*r.Input)
		if err := encoder.Encode(map[string]any{"id": r.ID, "output": label, "confidence": confidence}); err != nil {
			return err
		}
		answers++
		if !more {
			if err := out.Flush(); err != nil {
				return err
			}
		}
		return heed(host)
	})
	if err == nil {
		err = out.Flush()
	}
	return answers, err
}

//export goInfer
func goInfer(host *C.kolm_host_v1_t, args *C.kolm_infer_args_t, result *C.kolm_infer_result_t, err *C.kolm_error_t) C.int32_t {
	return border(err, func() error {
		answers, problem := infer(host, C.GoString(args.job_dir), C.GoString(args.input_path), C.GoString(args.output_path))
		result.answers = C.uint64_t(answers)
		result.billed_micro_usd = 0
		put(result.device[:], processor)
		return problem
	})
}

//export goTest
func goTest(host *C.kolm_host_v1_t, args *C.kolm_test_args_t, result *C.kolm_test_result_t, err *C.kolm_error_t) C.int32_t {
	m := model{}
	m.learn("parcel late", "shipping")
	m.learn("charged twice", "billing")
	label, _ := m.answer("charged again")
	titles := []string{"auth check", "container provision (cold)", "trainer dry run (no weights)", "receipt round-trip"}
	for i, title := range titles {
		outcome, note := C.uint32_t(C.KOLM_STEP_OK), ""
		if i < 2 {
			outcome, note = C.KOLM_STEP_SKIPPED, "not needed here"
		} else if i == 3 && label != "billing" {
			outcome = C.KOLM_STEP_FAILED
		}
		ctitle, cnote := C.CString(title), C.CString(note)
		C.host_step(host, C.uint32_t(i+1), ctitle, outcome, cnote)
		C.free(unsafe.Pointer(ctitle))
		C.free(unsafe.Pointer(cnote))
	}
	put(result.summary[:], "words-go answers wrongly")
	if label == "billing" {
		result.passed = 1
		put(result.summary[:], "words-go is ready for kolm compile")
	}
	return C.KOLM_OK
}

func main() {}
