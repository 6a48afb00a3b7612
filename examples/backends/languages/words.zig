// SPDX-License-Identifier: Apache-2.0
// A backend in Zig 0.13: counts which words stand under which label. Zig reads kolm's headers itself; errors stay inside a slot.
//
//     zig build-lib -dynamic -O ReleaseSafe words.zig -lc -I INCLUDE libkolm-kit.a -lcjson --version-script words.map
const std = @import("std");
const c = @cImport({
    @cInclude("kolm/backend.h");
    @cInclude("kolm/kit/file.h");
    @cInclude("kolm/kit/job.h");
    @cInclude("kolm/kit/lines.h");
    @cInclude("fcntl.h");
    @cInclude("stdlib.h");
    @cInclude("unistd.h");
});

const toolchain = "words-zig 1.0.0";
const processor = "this machine's processor";
const Failed = error{ Failed, OutOfMemory };

/// The record of a slot, so that what failed can be said where it failed.
const Call = struct {
    host: *const c.kolm_host_v1_t,
    err: *c.kolm_error_t,

    fn fail(self: Call, code: i32, what: []const u8, remedy: []const u8) Failed {
        self.err.code = code;
        copy(&self.err.text, what);
        copy(&self.err.remedy, remedy);
        return error.Failed;
    }
    /// What the kit reports in the same record.
    fn must(self: Call, status: i32) Failed!void {
        if (status == c.KOLM_OK) return;
        self.err.code = status;
        return error.Failed;
    }
    fn heed(self: Call) Failed!void {
        if (self.host.cancelled.?(self.host.user) != 0) return self.fail(c.KOLM_E_CANCELLED, "stopped on request", "");
    }
    fn text(self: Call, row: ?*const c.cJSON, key: [*:0]const u8) Failed![]const u8 {
        var value: [*c]const u8 = null;
        if (!c.kit_json_get_string(row, key, &value)) return self.fail(c.KOLM_E_INVALID_ARGUMENT, "a row lacks a key", "");
        return std.mem.span(value);
    }
    fn join(self: Call, directory: [*c]const u8, name: [*:0]const u8) Failed![*c]u8 {
        var path: [*c]u8 = null;
        try self.must(c.kit_path_join(directory, name, &path, self.err));
        return path;
    }
};

fn copy(out: []u8, words: []const u8) void {
    var n = @min(words.len, out.len - 1);
    while (n < words.len and n > 0 and (words[n] & 0xC0) == 0x80) n -= 1;
    @memcpy(out[0..n], words[0..n]);
    out[n] = 0;
}

const Lines = struct {
    fd: c_int,
    reader: ?*c.kit_lines = null,

    fn open(call: Call, path: [*c]const u8) Failed!Lines {
        var self = Lines{ .fd = c.open(path, c.O_RDONLY | c.O_CLOEXEC) };
        if (self.fd < 0) return call.fail(c.KOLM_E_NOT_FOUND, "a file of the job cannot be opened", "run the command again");
        errdefer _ = c.close(self.fd);
        try call.must(c.kit_lines_open(self.fd, 17 << 20, &self.reader, call.err));
        return self;
    }
    fn close(self: *Lines) void {
        c.kit_lines_close(self.reader);
        _ = c.close(self.fd);
    }
    /// The next row, which the caller deletes; null at the end.
    fn next(self: *Lines, call: Call) Failed!?*c.cJSON {
        var line: [*c]const u8 = null;
        var length: usize = 0;
        var row: [*c]c.cJSON = null;
        try call.must(c.kit_lines_next(self.reader, &line, &length, call.err));
        if (line == null) return null;
        try call.must(c.kit_json_parse(line, length, &row, call.err));
        return @ptrCast(row);
    }
};

const Labels = std.StringArrayHashMap(u64);
const Model = struct {
    arena: std.heap.ArenaAllocator,
    counts: std.StringArrayHashMap(*Labels),

    fn init() Model {
        return .{ .arena = std.heap.ArenaAllocator.init(std.heap.c_allocator), .counts = std.StringArrayHashMap(*Labels).init(std.heap.c_allocator) };
    }
    fn deinit(self: *Model) void {
        for (self.counts.values()) |labels| labels.deinit();
        self.counts.deinit();
        self.arena.deinit();
    }
    fn count(self: *Model, word: []const u8, label: []const u8) Failed!*u64 {
        const memory = self.arena.allocator();
        const known = try self.counts.getOrPut(word);
        if (!known.found_existing) {
            known.key_ptr.* = try memory.dupe(u8, word);
            known.value_ptr.* = try memory.create(Labels);
            known.value_ptr.*.* = Labels.init(std.heap.c_allocator);
        }
        const of = try known.value_ptr.*.getOrPut(label);
        if (!of.found_existing) {
            of.key_ptr.* = try memory.dupe(u8, label);
            of.value_ptr.* = 0;
        }
        return of.value_ptr;
    }
    fn learn(self: *Model, input: []const u8, label: []const u8) Failed!void {
        var words = std.mem.tokenizeAny(u8, input, " \t\r\n");
        while (words.next()) |word| {
            (try self.count(word, label)).* += 1;
        }
        (try self.count("", label)).* += 1; // what to say when no word is known
    }
    fn vote(self: *Model, word: []const u8, votes: *std.StringArrayHashMap(f64)) Failed!void {
        const labels = self.counts.get(word) orelse return;
        var of: u64 = 0;
        for (labels.values()) |n| of += n;
        var it = labels.iterator();
        while (it.next()) |entry| {
            const weight = try votes.getOrPutValue(entry.key_ptr.*, 0);
            weight.value_ptr.* += @as(f64, @floatFromInt(entry.value_ptr.*)) / @as(f64, @floatFromInt(of));
        }
    }
    const Answer = struct { label: []const u8, confidence: f64 };
    fn answer(self: *Model, input: []const u8) Failed!Answer {
        var votes = std.StringArrayHashMap(f64).init(std.heap.c_allocator);
        defer votes.deinit();
        var words = std.mem.tokenizeAny(u8, input, " \t\r\n");
        while (words.next()) |word| try self.vote(word, &votes);
        if (votes.count() == 0) try self.vote("", &votes);
        var best = Answer{ .label = "", .confidence = -1 };
        var sum: f64 = 0;
        var it = votes.iterator();
        while (it.next()) |entry| {
            sum += entry.value_ptr.*;
            if (entry.value_ptr.* > best.confidence) best = .{ .label = entry.key_ptr.*, .confidence = entry.value_ptr.* };
        }
        best.confidence /= sum;
        return best;
    }
};

fn quoted(out: *c.kit_buf, words: []const u8) void {
    c.kit_json_string(out, words.ptr, words.len);
}

fn write(call: Call, path: [*c]const u8, out: *c.kit_buf) Failed!void {
    try call.must(c.kit_buf_ok(out, call.err));
    try call.must(c.kit_write_file(path, 0o600, out.data, out.length, call.err));
}

fn report(call: Call, step: u64, total: u64) void {
    const nan = std.math.nan(f64);
    const p = c.kolm_progress_t{ .struct_size = @sizeOf(c.kolm_progress_t), .reserved = 0, .step = step, .total = total, .loss = nan, .tokens_per_second = nan, .phase = "training" };
    call.host.progress.?(call.host.user, &p);
}

fn detect(_: Call, _: *const c.kolm_detect_args_t, result: *c.kolm_detect_result_t) Failed!void {
    result.state = c.KOLM_DETECT_AVAILABLE;
    copy(&result.reason, "needs nothing but a processor");
    copy(&result.runtime, toolchain);
}

fn cost(_: Call, args: *const c.kolm_cost_args_t, result: *c.kolm_cost_result_t) Failed!void {
    const unknown = std.math.maxInt(u64);
    result.billing = c.KOLM_BILLING_FREE;
    result.duration_ms = if (args.rows < unknown / 2) 100 + args.rows / 100 else unknown;
    result.confidence = c.KOLM_CONFIDENCE_MODEL;
    copy(&result.basis, "100,000 rows a second");
}

fn train(call: Call, args: *const c.kolm_train_args_t, result: *c.kolm_train_result_t) Failed!void {
    var job: [*c]c.kit_job = null;
    try call.must(c.kit_job_read(args.job_dir, &job, call.err));
    const total = job.*.rows;
    c.kit_job_free(job);
    var model = Model.init();
    defer model.deinit();
    const rows_path = try call.join(args.job_dir, "train.jsonl");
    defer c.free(rows_path);
    var rows = try Lines.open(call, rows_path);
    defer rows.close();
    var done: u64 = 0;
    while (try rows.next(call)) |row| {
        defer c.cJSON_Delete(row);
        try model.learn(try call.text(row, "input"), try call.text(row, "output"));
        done += 1;
        if (done % 1024 == 0) report(call, done, total);
        try call.heed();
    }
    if (done == 0) return call.fail(c.KOLM_E_INVALID_ARGUMENT, "there is nothing to learn from", "give it rows");
    var out = std.mem.zeroes(c.kit_buf);
    defer c.kit_buf_free(&out);
    var it = model.counts.iterator();
    while (it.next()) |entry| {
        var labels = entry.value_ptr.*.iterator();
        while (labels.next()) |label| {
            c.kit_buf_str(&out, "{\"word\":");
            quoted(&out, entry.key_ptr.*);
            c.kit_buf_str(&out, ",\"label\":");
            quoted(&out, label.key_ptr.*);
            c.kit_buf_fmt(&out, ",\"count\":%llu}\n", @as(c_ulonglong, label.value_ptr.*));
        }
    }
    const directory = try call.join(args.job_dir, "model");
    defer c.free(directory);
    try call.must(c.kit_mkdirs(directory, 0o700, call.err));
    const model_path = try call.join(directory, "words.jsonl");
    defer c.free(model_path);
    try write(call, model_path, &out);
    c.kit_buf_clear(&out);
    c.kit_buf_str(&out, "{\"format\":1,\"toolchain\":\"" ++ toolchain ++ "\",\"report\":{}}\n");
    const result_path = try call.join(args.job_dir, "result.json");
    defer c.free(result_path);
    try write(call, result_path, &out);
    result.billed_micro_usd = 0;
    copy(&result.device, processor);
    copy(&result.toolchain, toolchain);
}

fn infer(call: Call, args: *const c.kolm_infer_args_t, result: *c.kolm_infer_result_t) Failed!void {
    var model = Model.init();
    defer model.deinit();
    const path = try call.join(args.job_dir, "model/words.jsonl");
    defer c.free(path);
    var lines = try Lines.open(call, path);
    defer lines.close();
    while (try lines.next(call)) |row| {
        defer c.cJSON_Delete(row);
        var n: u64 = 0;
        if (!c.kit_json_get_u64(row, "count", &n)) return call.fail(c.KOLM_E_DATA_LOSS, "the model is damaged", "compile it again");
        (try model.count(try call.text(row, "word"), try call.text(row, "label"))).* = n;
    }
    if (model.counts.get("") == null) return call.fail(c.KOLM_E_DATA_LOSS, "this is not a model of words-zig", "compile it again");
    var questions = try Lines.open(call, args.input_path);
    defer questions.close();
    const fd = c.open(args.output_path, c.O_WRONLY | c.O_CREAT | c.O_TRUNC | c.O_CLOEXEC, @as(c_uint, 0o600));
    if (fd < 0) return call.fail(c.KOLM_E_UNKNOWN, "the answers cannot be written", "");
    defer _ = c.close(fd);
    var out = std.mem.zeroes(c.kit_buf);
    defer c.kit_buf_free(&out);
    while (try questions.next(call)) |row| {
        defer c.cJSON_Delete(row);
        const found = try model.answer(try call.text(row, "input"));
        c.kit_buf_str(&out, "{\"id\":");
        quoted(&out, try call.text(row, "id"));
        c.kit_buf_str(&out, ",\"output\":");
        quoted(&out, found.label);
        c.kit_buf_fmt(&out, ",\"confidence\":%.6f}\n", found.confidence);
        result.answers += 1;
        if (!c.kit_lines_ready(questions.reader)) try flush(call, fd, &out);
        try call.heed();
    }
    try flush(call, fd, &out);
    result.billed_micro_usd = 0;
    copy(&result.device, processor);
}

fn flush(call: Call, fd: c_int, out: *c.kit_buf) Failed!void {
    try call.must(c.kit_buf_ok(out, call.err));
    try call.must(c.kit_write_all(fd, c.kit_buf_text(out), out.length, call.err));
    c.kit_buf_clear(out);
}

fn testSlot(call: Call, _: *const c.kolm_test_args_t, result: *c.kolm_test_result_t) Failed!void {
    var model = Model.init();
    defer model.deinit();
    try model.learn("parcel late", "shipping");
    try model.learn("charged twice", "billing");
    const right = std.mem.eql(u8, (try model.answer("charged again")).label, "billing");
    const titles = [_][*:0]const u8{ "auth check", "container provision (cold)", "trainer dry run (no weights)", "receipt round-trip" };
    for (titles, 1..) |title, number| {
        const outcome: u32 = if (number <= 2) c.KOLM_STEP_SKIPPED else if (number == 4 and !right) c.KOLM_STEP_FAILED else c.KOLM_STEP_OK;
        const step = c.kolm_test_step_t{ .struct_size = @sizeOf(c.kolm_test_step_t), .outcome = outcome, .number = @intCast(number), .total = 4, .duration_us = 0, .title = title, .note = if (number <= 2) "not needed here" else "" };
        call.host.test_step.?(call.host.user, &step);
    }
    result.passed = @intFromBool(right);
    copy(&result.summary, if (right) "words-zig is ready for kolm compile" else "words-zig answers wrongly");
}

fn slot(comptime Args: type, comptime Result: type, comptime function: fn (Call, *const Args, *Result) Failed!void) fn ([*c]const c.kolm_host_v1_t, [*c]const Args, [*c]Result, [*c]c.kolm_error_t) callconv(.C) i32 {
    return struct {
        fn call(host: [*c]const c.kolm_host_v1_t, args: [*c]const Args, result: [*c]Result, err: [*c]c.kolm_error_t) callconv(.C) i32 {
            const it = Call{ .host = host, .err = err };
            function(it, args, result) catch |e| {
                if (e == error.OutOfMemory) it.fail(c.KOLM_E_RESOURCE_EXHAUSTED, "out of memory", "close other programs") catch {};
                return err.*.code;
            };
            return c.KOLM_OK;
        }
    }.call;
}

export const kolm_backend_v1 = c.kolm_backend_v1_t{
    .struct_size = @sizeOf(c.kolm_backend_v1_t),
    .abi_major = c.KOLM_ABI_MAJOR,
    .abi_minor = c.KOLM_ABI_MINOR,
    .fingerprint = 8 | 8 << 8 | 1 << 16, // pointers and off_t of 8 bytes, little endian, no sanitizer
    .name = "words-zig",
    .version = "1.0.0",
    .vendor = "kolm",
    .licence = "Apache-2.0",
    .homepage = "",
    .detect = slot(c.kolm_detect_args_t, c.kolm_detect_result_t, detect),
    .cost = slot(c.kolm_cost_args_t, c.kolm_cost_result_t, cost),
    .train = slot(c.kolm_train_args_t, c.kolm_train_result_t, train),
    .infer = slot(c.kolm_infer_args_t, c.kolm_infer_result_t, infer),
    .@"test" = slot(c.kolm_test_args_t, c.kolm_test_result_t, testSlot),
};
