#include "core/trace/trace_lines.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>

namespace shoal {

namespace {

using Stages = std::array<std::string_view, TraceRecord::kTimes>;
constexpr Stages kWorkerStages{"issued", "sent", "answered", "polled"};
constexpr Stages kServerStages{"received", "admitted", "applied", "answered"};

/// Writes one event, by hand and into memory of its own: a tracer that formats at leisure takes a
/// core from what it watches.
class Line {
 public:
  Line(std::string& out, char phase, NodeId self) : out_(out) {
    put("{\"ph\":\"");
    *at_++ = phase;
    put("\",\"pid\":");
    number(self.value);
  }
  ~Line() {
    put(in_args_ ? "}},\n" : "},\n");
    out_.append(line_, static_cast<std::size_t>(at_ - line_));
  }

  Line& text(std::string_view key, std::string_view value) { return name(key, value, {}, {}); }
  Line& name(std::string_view key, std::string_view first, std::string_view between,
             std::string_view second) {
    begin(key);
    *at_++ = '"';
    put(first);
    put(between);
    put(second);
    *at_++ = '"';
    return *this;
  }
  Line& value(std::string_view key, std::uint64_t value) {
    begin(key);
    number(value);
    return *this;
  }
  /// In microseconds, the format's unit, down to the nanosecond.
  Line& time(std::string_view key, Duration time) {
    begin(key);
    const auto ns = static_cast<std::uint64_t>(time.count() < 0 ? 0 : time.count());
    number(ns / 1000);
    const auto rest = ns % 1000;
    *at_++ = '.';
    *at_++ = static_cast<char>('0' + rest / 100);
    *at_++ = static_cast<char>('0' + rest / 10 % 10);
    *at_++ = static_cast<char>('0' + rest % 10);
    return *this;
  }
  Line& at(TimePoint time) { return this->time("ts", time.time_since_epoch()); }
  Line& id(std::string_view key, std::uint64_t id) {
    begin(key);
    hex(id);
    return *this;
  }
  /// Of one process alone; `id` would mean the same in all of them.
  Line& local_id(std::uint64_t id) {
    begin("id2");
    put("{\"local\":");
    hex(id);
    *at_++ = '}';
    return *this;
  }
  /// The keys that follow are its arguments.
  Line& args() {
    begin("args");
    *at_++ = '{';
    in_args_ = first_ = true;
    return *this;
  }

 private:
  void begin(std::string_view key) {
    if (!first_) *at_++ = ',';
    first_ = false;
    *at_++ = '"';
    put(key);
    put("\":");
  }
  void put(std::string_view text) { at_ = std::copy(text.begin(), text.end(), at_); }
  void number(std::uint64_t value) { at_ = std::to_chars(at_, at_ + 20, value).ptr; }
  void hex(std::uint64_t value) {
    constexpr char kDigits[] = "0123456789abcdef";
    put("\"0x");
    for (int shift = value == 0 ? 0 : (63 - std::countl_zero(value)) / 4 * 4; shift >= 0;
         shift -= 4)
      *at_++ = kDigits[value >> shift & 15];
    *at_++ = '"';
  }

  std::string& out_;
  bool first_ = false;
  bool in_args_ = false;
  char* at_ = line_;
  /// Keys and numbers take less than 400 bytes; and there is one name of others, as `trace_text`
  /// cuts it.
  char line_[400 + kTraceTextMax];
};

/// What both ends of a request know it by: different for all requests of two nodes, and as good as
/// random between others (the finalizer of splitmix64). Readers take 64 bits.
std::uint64_t request_key(NodeId worker, NodeId server, RequestId request) {
  auto pair = std::uint64_t{worker.value} << 32 | server.value;
  pair = (pair ^ (pair >> 30)) * 0xbf58476d1ce4e5b9;
  pair = (pair ^ (pair >> 27)) * 0x94d049bb133111eb;
  return pair ^ (pair >> 31) ^ request.value;
}

bool is_of_worker(TraceRecord::What what) {
  return what == TraceRecord::What::operation || what == TraceRecord::What::send ||
         what == TraceRecord::What::answer;
}

std::uint64_t request_key(const TraceRecord& record, NodeId self) {
  return is_of_worker(record.what) ? request_key(self, record.peer, record.request)
                                   : request_key(record.peer, self, record.request);
}

void append_args(Line& line, const TraceRecord& record, const TraceNames& names) {
  line.args();
  if (record.operation != 0) line.id("operation", record.operation);
  if (record.request.value != 0) line.value("request", record.request.value);
  if (record.peer.value != 0)
    line.value(is_of_worker(record.what) ? "server" : "worker", record.peer.value);
  if (record.table.value != 0) {
    const auto name = names.tables.find(record.table);
    if (name != names.tables.end())
      line.text("table", name->second);
    else
      line.value("table", record.table.value);
  }
  if (record.bytes != 0) line.value("bytes", record.bytes);
  line.text("status", name_of(record.status));
}

/// A life: one span over all of it, and within that one from each stage to the next that it came
/// to.
void append_life(std::string& lines, const TraceRecord& record, const TraceNames& names) {
  const bool worker = record.what == TraceRecord::What::operation;
  const auto& stages = worker ? kWorkerStages : kServerStages;
  const std::string_view kind = worker ? "operation" : "request";
  const auto id = worker ? record.operation : request_key(record, names.self);
  const auto event = [&](char phase, std::string_view name, std::string_view to, TimePoint at) {
    Line line(lines, phase, names.self);
    line.text("cat", kind).value("tid", record.thread).local_id(id).at(at);
    line.name("name", name, to.empty() ? "" : "-", to);
    if (to.empty() && phase == 'b') append_args(line, record, names);
  };
  std::size_t last = 0;
  for (std::size_t i = 0; i < stages.size(); ++i)
    if (record.times[i] != TimePoint{}) last = i;
  event('b', record.name, {}, record.times[0]);
  std::size_t from = 0;
  for (std::size_t i = 1; i <= last; ++i) {
    if (record.times[i] == TimePoint{}) continue;
    event('b', stages[from], stages[i], record.times[from]);
    event('e', stages[from], stages[i], record.times[i]);
    from = i;
  }
  event('e', record.name, {}, record.times[last]);
}

/// Work of a thread, and the arrow of its request from the worker to the server and back.
void append_work(std::string& lines, const TraceRecord& record, const TraceNames& names) {
  using What = TraceRecord::What;
  const std::string_view verb = record.what == What::send     ? "send "
                                : record.what == What::answer ? "answer "
                                : record.what == What::serve  ? "serve "
                                                              : "";
  {
    Line line(lines, 'X', names.self);
    line.text("cat", "work").value("tid", record.thread).at(record.times[0]);
    line.time("dur", record.times[1] - record.times[0]);
    line.name("name", verb, {}, record.name);
    append_args(line, record, names);
  }
  if (record.what == What::work) return;
  const char phase = record.what == What::send ? 's' : record.what == What::serve ? 't' : 'f';
  Line arrow(lines, phase, names.self);
  arrow.text("cat", "flow").text("name", "request").value("tid", record.thread);
  arrow.id("id", request_key(record, names.self)).at(record.times[0]);
  if (phase == 'f') arrow.text("bp", "e");
}

}  // namespace

std::string trace_text(std::string_view text) {
  std::string shown;
  for (const char c : text.substr(0, kTraceTextMax / 2)) {
    if (c == '"' || c == '\\') shown += '\\';
    shown += c >= ' ' && c <= '~' ? c : '?';
  }
  return shown;
}

void append_record(std::string& lines, const TraceRecord& record, const TraceNames& names) {
  using What = TraceRecord::What;
  if (record.what == What::operation || record.what == What::request)
    append_life(lines, record, names);
  else
    append_work(lines, record, names);
}

void append_process_name(std::string& lines, NodeId self, std::string_view name) {
  Line(lines, 'M', self).text("name", "process_name").args().text("name", name);
}

void append_thread_name(std::string& lines, NodeId self, std::uint32_t thread,
                        std::string_view name) {
  Line(lines, 'M', self).value("tid", thread).text("name", "thread_name").args().text("name", name);
}

void append_dropped(std::string& lines, NodeId self, TimePoint now, std::uint64_t count) {
  Line(lines, 'i', self)
      .at(now)
      .value("tid", 0)
      .text("s", "p")
      .text("name", "records dropped")
      .args()
      .value("count", count);
}

void append_end(std::string& lines, NodeId self, TimePoint now, std::uint64_t recorded,
                std::uint64_t dropped) {
  Line(lines, 'i', self)
      .at(now)
      .value("tid", 0)
      .text("s", "p")
      .text("name", "end of trace")
      .args()
      .value("recorded", recorded)
      .value("dropped", dropped);
  lines.resize(lines.size() - 2);  // the comma
  lines += "\n]\n";
}

}  // namespace shoal
