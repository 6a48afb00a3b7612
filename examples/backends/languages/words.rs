// SPDX-License-Identifier: Apache-2.0
// A backend in Rust without crates: counts which words stand under which label. The records of kolm/backend.h are spelled here as
// #[repr(C)]; a panic stops at the border (catch_unwind), since unwinding into C is undefined.
//
//     rustc --edition 2021 --crate-type cdylib -C panic=unwind -O words.rs -l static=kolm-kit -l cjson -L ...
#![allow(non_upper_case_globals, non_camel_case_types)]

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::raw::{c_char, c_int, c_void};
use std::os::unix::io::AsRawFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::Path;

const OK: i32 = 0;
const CANCELLED: i32 = 1;
const UNKNOWN: i32 = 2;
const INVALID_ARGUMENT: i32 = 3;
const INTERNAL: i32 = 13;
const DATA_LOSS: i32 = 15;
const UNKNOWN_COUNT: u64 = u64::MAX;

// ---- kolm/backend.h

#[repr(C)]
pub struct KolmError { struct_size: u32, code: i32, text: [u8; 512], remedy: [u8; 512] }
#[repr(C)]
pub struct Progress { struct_size: u32, reserved: u32, step: u64, total: u64, loss: f64, tokens_per_second: f64, phase: *const c_char }
#[repr(C)]
pub struct TestStep { struct_size: u32, outcome: u32, number: u32, total: u32, duration_us: u64, title: *const c_char, note: *const c_char }
// Up to scratch_dir, where 1.0 ends: what is behind it is asked for with struct_size.
#[repr(C)]
pub struct Host {
    struct_size: u32, abi_major: u16, abi_minor: u16, features: u64, user: *mut c_void,
    log: extern "C" fn(*mut c_void, u32, *const c_char),
    progress: extern "C" fn(*mut c_void, *const Progress),
    metric: extern "C" fn(*mut c_void, *const c_char, f64),
    device: *const c_void,
    test_step: extern "C" fn(*mut c_void, *const TestStep),
    cancelled: extern "C" fn(*mut c_void) -> i32,
    time_left_ms: extern "C" fn(*mut c_void) -> i64,
    secret: *const c_void,
    setting: *const c_void,
    scratch_dir: *const c_char,
}
#[repr(C)]
pub struct DetectArgs { struct_size: u32, allow_network: u32 }
#[repr(C)]
pub struct DetectResult { struct_size: u32, state: u32, reason: [u8; 256], remedy: [u8; 256], runtime: [u8; 128] }
#[repr(C)]
pub struct CostArgs { struct_size: u32, epochs: u32, rows: u64 } // and more that is not read here
#[repr(C)]
pub struct CostResult { struct_size: u32, billing: u32, duration_ms: u64, cost_micro_usd: u64, confidence: u32, reserved: u32, basis: [u8; 256] }
#[repr(C)]
pub struct TrainArgs { struct_size: u32, threads: u32, job_dir: *const c_char }
#[repr(C)]
pub struct TrainResult { struct_size: u32, reserved: u32, billed_micro_usd: u64, device: [u8; 128], toolchain: [u8; 256] }
#[repr(C)]
pub struct InferArgs { struct_size: u32, threads: u32, job_dir: *const c_char, input_path: *const c_char, output_path: *const c_char }
#[repr(C)]
pub struct InferResult { struct_size: u32, reserved: u32, answers: u64, billed_micro_usd: u64, device: [u8; 128] }
#[repr(C)]
pub struct TestArgs { struct_size: u32, threads: u32, allow_network: u32, reserved: u32 }
#[repr(C)]
pub struct TestResult { struct_size: u32, passed: u32, summary: [u8; 256] }

type Slot<A, R> = extern "C" fn(*const Host, *const A, *mut R, *mut KolmError) -> i32;

#[repr(C)]
pub struct Table {
    struct_size: u32, abi_major: u16, abi_minor: u16, required_features: u64,
    fingerprint: u32, host_minor_needed: u16, reserved: u16, features: u64,
    name: *const c_char, version: *const c_char, vendor: *const c_char, licence: *const c_char, homepage: *const c_char,
    detect: Option<Slot<DetectArgs, DetectResult>>, cost: Option<Slot<CostArgs, CostResult>>,
    train: Option<Slot<TrainArgs, TrainResult>>, infer: Option<Slot<InferArgs, InferResult>>, test: Option<Slot<TestArgs, TestResult>>,
}
// It holds pointers to constants only.
unsafe impl Sync for Table {}

// ---- The kit's reader of lines and JSON

#[repr(C)]
pub struct Lines { _private: [u8; 0] }
#[repr(C)]
pub struct Json { _private: [u8; 0] }
extern "C" {
    fn kit_lines_open(fd: c_int, max_line: usize, out: *mut *mut Lines, err: *mut KolmError) -> i32;
    fn kit_lines_next(lines: *mut Lines, line: *mut *const c_char, length: *mut usize, err: *mut KolmError) -> i32;
    fn kit_lines_ready(lines: *const Lines) -> bool;
    fn kit_lines_close(lines: *mut Lines);
    fn kit_json_parse(bytes: *const c_char, length: usize, out: *mut *mut Json, err: *mut KolmError) -> i32;
    fn kit_json_get_string(object: *const Json, key: *const c_char, out: *mut *const c_char) -> bool;
    fn kit_json_get_u64(object: *const Json, key: *const c_char, out: *mut u64) -> bool;
    fn cJSON_Delete(item: *mut Json);
}

struct Failure { code: i32, text: String, remedy: String }
type Done<T> = Result<T, Failure>;

fn failure<T>(code: i32, text: &str, remedy: &str) -> Done<T> {
    Err(Failure { code, text: text.to_string(), remedy: remedy.to_string() })
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure { code: UNKNOWN, text: error.to_string(), remedy: String::new() }
    }
}

/// As much as fits, cut between characters, NUL at the end.
fn copy(out: &mut [u8], text: &str) {
    let mut n = text.len().min(out.len() - 1);
    while !text.is_char_boundary(n) {
        n -= 1;
    }
    out[..n].copy_from_slice(&text.as_bytes()[..n]);
    out[n] = 0;
}

fn text_of(pointer: *const c_char) -> String {
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

fn check(code: i32, error: &KolmError) -> Done<()> {
    if code == OK {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.split(|b| *b == 0).next().unwrap_or(&[])).into_owned();
    Err(Failure { code, text: text(&error.text), remedy: text(&error.remedy) })
}

fn no_error() -> KolmError {
    KolmError { struct_size: std::mem::size_of::<KolmError>() as u32, code: 0, text: [0; 512], remedy: [0; 512] }
}

struct Row(*mut Json);
impl Drop for Row {
    fn drop(&mut self) {
        unsafe { cJSON_Delete(self.0) }
    }
}
impl Row {
    fn parse(text: *const c_char, length: usize) -> Done<Row> {
        let (mut json, mut error) = (std::ptr::null_mut(), no_error());
        check(unsafe { kit_json_parse(text, length, &mut json, &mut error) }, &error)?;
        Ok(Row(json))
    }
    fn text(&self, key: &str) -> Done<String> {
        let (name, mut value) = (CString::new(key).unwrap(), std::ptr::null());
        if unsafe { kit_json_get_string(self.0, name.as_ptr(), &mut value) } {
            return Ok(text_of(value));
        }
        failure(INVALID_ARGUMENT, &format!("a row lacks \"{key}\""), "")
    }
    fn number(&self, key: &str) -> Option<u64> {
        let (name, mut value) = (CString::new(key).unwrap(), 0);
        unsafe { kit_json_get_u64(self.0, name.as_ptr(), &mut value) }.then_some(value)
    }
}

struct Reader { lines: *mut Lines, _file: File }
impl Drop for Reader {
    fn drop(&mut self) {
        unsafe { kit_lines_close(self.lines) }
    }
}
impl Reader {
    fn open(path: &Path) -> Done<Reader> {
        let file = File::open(path).map_err(|e| Failure { code: UNKNOWN, text: format!("cannot open {}: {e}", path.display()), remedy: String::new() })?;
        let (mut lines, mut error) = (std::ptr::null_mut(), no_error());
        check(unsafe { kit_lines_open(file.as_raw_fd(), 17 << 20, &mut lines, &mut error) }, &error)?;
        Ok(Reader { lines, _file: file })
    }
    fn next(&mut self) -> Done<Option<Row>> {
        let mut line: *const c_char = std::ptr::null();
        let (mut length, mut error) = (0, no_error());
        check(unsafe { kit_lines_next(self.lines, &mut line, &mut length, &mut error) }, &error)?;
        if line.is_null() {
            return Ok(None);
        }
        Row::parse(line, length).map(Some)
    }
    fn ready(&self) -> bool {
        unsafe { kit_lines_ready(self.lines) }
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out + "\""
}

// ---- The engine

#[derive(Default)]
struct Model { counts: BTreeMap<String, BTreeMap<String, u64>> }

impl Model {
    fn learn(&mut self, input: &str, label: &str) {
        // "" is what to say when no word is known.
        for word in input.split_whitespace().chain([""]) {
            *self.counts.entry(word.to_string()).or_default().entry(label.to_string()).or_default() += 1;
        }
    }
    fn vote<'a>(&'a self, word: &str, votes: &mut BTreeMap<&'a str, f64>) {
        if let Some(labels) = self.counts.get(word) {
            let of: u64 = labels.values().sum();
            for (label, count) in labels {
                *votes.entry(label).or_default() += *count as f64 / of as f64;
            }
        }
    }
    fn answer(&self, input: &str) -> (String, f64) {
        let mut votes = BTreeMap::new();
        input.split_whitespace().for_each(|word| self.vote(word, &mut votes));
        if votes.is_empty() {
            self.vote("", &mut votes);
        }
        let sum: f64 = votes.values().sum();
        let mut best = ("", 0.0);
        for (label, weight) in votes {
            if weight > best.1 {
                best = (label, weight);
            }
        }
        (best.0.to_string(), best.1 / sum)
    }
}

// ---- Slots

fn heed(host: &Host) -> Done<()> {
    if (host.cancelled)(host.user) != 0 { failure(CANCELLED, "stopped on request", "") } else { Ok(()) }
}

fn report(host: &Host, step: u64, total: u64) {
    let phase = CString::new("training").unwrap();
    let progress = Progress { struct_size: std::mem::size_of::<Progress>() as u32, reserved: 0, step, total, loss: f64::NAN, tokens_per_second: f64::NAN, phase: phase.as_ptr() };
    (host.progress)(host.user, &progress);
}

fn detect(_: &Host, _: &DetectArgs, result: &mut DetectResult) -> Done<()> {
    result.state = 0; // KOLM_DETECT_AVAILABLE
    copy(&mut result.reason, "needs nothing but a processor");
    copy(&mut result.runtime, "words-rust 1.0.0");
    Ok(())
}

fn cost(_: &Host, args: &CostArgs, result: &mut CostResult) -> Done<()> {
    result.billing = 0; // KOLM_BILLING_FREE
    result.duration_ms = if args.rows < u64::MAX / 2 { 100 + args.rows / 100 } else { u64::MAX };
    result.confidence = 1; // KOLM_CONFIDENCE_MODEL
    copy(&mut result.basis, "100,000 rows a second");
    Ok(())
}

fn train(host: &Host, args: &TrainArgs, result: &mut TrainResult) -> Done<()> {
    let job = text_of(args.job_dir);
    let job = Path::new(&job);
    let description = std::fs::read_to_string(job.join("job.json"))?;
    let total = Row::parse(description.as_ptr() as *const c_char, description.trim_end().len())?.number("rows").unwrap_or(UNKNOWN_COUNT);
    let (mut model, mut done) = (Model::default(), 0);
    let mut rows = Reader::open(&job.join("train.jsonl"))?;
    while let Some(row) = rows.next()? {
        model.learn(&row.text("input")?, &row.text("output")?);
        done += 1;
        if done % 1024 == 0 {
            report(host, done, total);
        }
        heed(host)?;
    }
    if done == 0 {
        return failure(INVALID_ARGUMENT, "there is nothing to learn from", "give it rows");
    }
    std::fs::create_dir_all(job.join("model"))?;
    let mut out = BufWriter::new(File::create(job.join("model/words.jsonl"))?);
    for (word, labels) in &model.counts {
        for (label, count) in labels {
            writeln!(out, "{{\"word\":{},\"label\":{},\"count\":{count}}}", quoted(word), quoted(label))?;
        }
    }
    out.flush()?;
    std::fs::write(job.join("result.json"), "{\"format\":1,\"toolchain\":\"words-rust 1.0.0\",\"report\":{}}\n")?;
    result.billed_micro_usd = 0;
    copy(&mut result.device, "this machine's processor");
    copy(&mut result.toolchain, "words-rust 1.0.0");
    Ok(())
}

fn infer(host: &Host, args: &InferArgs, result: &mut InferResult) -> Done<()> {
    let mut model = Model::default();
    let mut lines = Reader::open(&Path::new(&text_of(args.job_dir)).join("model/words.jsonl"))?;
    while let Some(row) = lines.next()? {
        let count = match row.number("count") {
            Some(count) => count,
            None => return failure(DATA_LOSS, "the model is damaged", "compile it again"),
        };
        model.counts.entry(row.text("word")?).or_default().insert(row.text("label")?, count);
    }
    if !model.counts.contains_key("") {
        return failure(DATA_LOSS, "this is not a model of words-rust", "compile it again");
    }
    let mut out = BufWriter::new(File::create(text_of(args.output_path))?);
    let mut questions = Reader::open(Path::new(&text_of(args.input_path)))?;
    while let Some(row) = questions.next()? {
        let (label, confidence) = model.answer(&row.text("input")?);
        writeln!(out, "{{\"id\":{},\"output\":{},\"confidence\":{confidence:.6}}}", quoted(&row.text("id")?), quoted(&label))?;
        result.answers += 1;
        if !questions.ready() {
            out.flush()?;
        }
        heed(host)?;
    }
    out.flush()?;
    result.billed_micro_usd = 0;
    copy(&mut result.device, "this machine's processor");
    Ok(())
}

fn test(host: &Host, _: &TestArgs, result: &mut TestResult) -> Done<()> {
    let mut model = Model::default();
    model.learn("parcel late", "shipping");
    model.learn("charged twice", "billing");
    let right = model.answer("charged again").0 == "billing";
    let steps = [("auth check", 2), ("container provision (cold)", 2), ("trainer dry run (no weights)", 0), ("receipt round-trip", !right as u32)];
    for (number, (title, outcome)) in steps.iter().enumerate() {
        let (title, note) = (CString::new(*title).unwrap(), CString::new(if *outcome == 2 { "not needed here" } else { "" }).unwrap());
        let step = TestStep { struct_size: std::mem::size_of::<TestStep>() as u32, outcome: *outcome, number: number as u32 + 1, total: 4, duration_us: 0, title: title.as_ptr(), note: note.as_ptr() };
        (host.test_step)(host.user, &step);
    }
    result.passed = right as u32;
    copy(&mut result.summary, if right { "words-rust is ready for kolm compile" } else { "words-rust answers wrongly" });
    Ok(())
}

fn border<A, R>(host: *const Host, args: *const A, result: *mut R, error: *mut KolmError, slot: fn(&Host, &A, &mut R) -> Done<()>) -> i32 {
    let failed = match catch_unwind(AssertUnwindSafe(|| unsafe { slot(&*host, &*args, &mut *result) })) {
        Ok(Ok(())) => return OK,
        Ok(Err(failed)) => failed,
        Err(_) => Failure { code: INTERNAL, text: "it panicked".to_string(), remedy: "report this to the author of the backend".to_string() },
    };
    let error = unsafe { &mut *error };
    error.code = failed.code;
    copy(&mut error.text, &failed.text);
    copy(&mut error.remedy, &failed.remedy);
    failed.code
}

macro_rules! slot {
    ($name:ident, $function:ident, $args:ty, $result:ty) => {
        extern "C" fn $name(host: *const Host, args: *const $args, result: *mut $result, error: *mut KolmError) -> i32 {
            border(host, args, result, error, $function)
        }
    };
}
slot!(detect_slot, detect, DetectArgs, DetectResult);
slot!(cost_slot, cost, CostArgs, CostResult);
slot!(train_slot, train, TrainArgs, TrainResult);
slot!(infer_slot, infer, InferArgs, InferResult);
slot!(test_slot, test, TestArgs, TestResult);

macro_rules! c {
    ($text:literal) => { concat!($text, "\0").as_ptr() as *const c_char };
}

#[no_mangle]
pub static kolm_backend_v1: Table = Table {
    struct_size: std::mem::size_of::<Table>() as u32, // the size of 1.0
    abi_major: 1, abi_minor: 0, required_features: 0,
    fingerprint: 8 | 8 << 8 | 1 << 16, // pointers and off_t of 8 bytes, little endian, no sanitizer
    host_minor_needed: 0, reserved: 0, features: 0,
    name: c!("words-rust"), version: c!("1.0.0"), vendor: c!("kolm"), licence: c!("Apache-2.0"), homepage: c!(""),
    detect: Some(detect_slot), cost: Some(cost_slot), train: Some(train_slot), infer: Some(infer_slot), test: Some(test_slot),
};
