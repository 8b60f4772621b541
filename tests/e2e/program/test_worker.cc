// A worker that does what its standard input says, a command a line, and answers each with a line:
// "ok ..." or "error <code> <message>". Tests script several of them step by step. Settings come
// from the environment, as for every Shoal program.
//
//   connect [observer]
//   open NAME dtype= layout= rows= width= rule= apply= staleness= slots= segment_bytes= as=
//   timeout= push|pull|push_pull|store TICKET TABLE rows=A:B|keys=1,2 value=|bits= count= own=1
//   ahead= after=
//       timeout= one_sided=1
//   wait TICKET [for=]   ready TICKET   cancel TICKET   forget TICKET
//   fill TICKET BYTE   values TICKET   bits TICKET   unchanged TICKET BYTE
//       (what it pulls into, or else pushes from)
//   flood COUNT push|pull TABLE ...     (tickets without names)    drain
//   stream COUNT push|pull TABLE ...    (keeps so many under way, a line "round i" for each that is
//       done, until one fails; the last COUNT are tickets stream0, stream1, ...)
//   train TABLE ROUNDS rows=A:B         (push, pull, tick; a line "round i" for each)
//   watch TABLE COUNT rows=A:B          (pulls one after the other rows that should be equal)
//   reads                               (what became of one-sided pulls)
//   tick   clock   barrier [timeout=]   flush   leave   set TABLE NAME VALUE   drop TABLE   quit

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/e2e/program/opened.h"
#include "tests/e2e/program/words.h"
#include "worker/worker.h"

namespace shoal::e2e {
namespace {

void say(const std::string& line) { std::cout << line << std::endl; }

std::string told(const Error& error) {
  auto text = error.message();
  std::replace(text.begin(), text.end(), '\n', ' ');
  return "error " + std::string(name_of(error.code)) + " " + text;
}
std::string told(const Status& status) { return status.ok() ? "ok" : told(status.error()); }
std::string told(const Result<PullInfo>& result) {
  if (!result.ok()) return told(result.error());
  return "ok oldest=" + std::to_string(result->oldest.value) +
         " newest=" + std::to_string(result->newest.value);
}
/// How many tickets ended in which way.
using Ends = std::map<std::string, int>;
std::string told(const Ends& ends) {
  std::string line = "ok";
  for (const auto& [code, count] : ends) line += " " + code + "=" + std::to_string(count);
  return line;
}
Error wrong(const std::string& what) { return {Errc::unknown_name, "test worker: " + what}; }

class Program {
 public:
  /// False: it was the last command.
  bool run(const std::string& line) {
    const Words words(line);
    const auto verb = words.word(0);
    if (verb == "quit") return false;
    const auto found = verbs_.find(verb);
    if (found == verbs_.end())
      say(told(wrong("no command " + verb)));
    else if (!worker_ && verb != "connect")
      say(told(wrong("not connected")));
    else
      say((this->*found->second)(words));
    return true;
  }

 private:
  using Verb = std::string (Program::*)(const Words&);

  std::string connect(const Words& words) {
    auto config = Config::from_env();
    if (!config.ok()) return told(config.error());
    auto worker =
        Worker::connect(*config, words.word(1) == "observer" ? Role::observer : Role::worker);
    if (!worker.ok()) return told(worker.error());
    worker_ = std::make_unique<Worker>(std::move(*worker));
    return "ok rank=" + std::to_string(worker_->rank().value) +
           " clock=" + std::to_string(worker_->clock().value);
  }

  template <class T>
  Status open_as(const std::string& as, const TableSpec& spec) {
    SHOAL_ASSIGN(auto table, worker_->create_or_open<T>(spec));
    tables_[as] = std::make_unique<OpenedAs<T>>(std::move(table));
    return {};
  }
  std::string open(const Words& words) {
    TableSpec spec;
    spec.name = words.word(1);
    const auto as = words.text("as", spec.name);
    spec.layout = words.text("layout", "dense") == "dense" ? Layout::dense : Layout::sparse;
    spec.rows = static_cast<std::uint64_t>(words.number("rows"));
    spec.row_width = static_cast<std::uint32_t>(words.number("width", 1));
    spec.update = rule_of(words.text("rule", "add"));
    const auto staleness = words.text("staleness", "0");
    spec.staleness = staleness == "unbounded" ? unbounded : std::stoll(staleness);
    const auto apply = words.text("apply");
    if (apply == "on_arrival") spec.apply = Apply::on_arrival;
    if (apply == "per_clock") spec.apply = Apply::per_clock;
    if (apply == "collective") spec.apply = Apply::collective;
    spec.slots = static_cast<std::uint32_t>(words.number("slots"));
    spec.segment_bytes = static_cast<std::uint32_t>(words.number("segment_bytes"));
    const auto dtype = words.text("dtype", "f32");
    if (dtype == "f64") return told(open_as<double>(as, spec));
    if (dtype == "f16") return told(open_as<Float16>(as, spec));
    if (dtype == "bf16") return told(open_as<BFloat16>(as, spec));
    if (dtype == "i32") return told(open_as<std::int32_t>(as, spec));
    if (dtype == "i64") return told(open_as<std::int64_t>(as, spec));
    return told(open_as<float>(as, spec));
  }
  static UpdateSpec rule_of(const std::string& name) {
    if (name == "assign") return Assign{};
    if (name == "add") return Add{};
    if (name == "max") return Max{};
    if (name == "sgd") return Sgd{.learning_rate = 1};
    UpdateSpec spec;
    spec.rule = name;
    return spec;
  }

  Result<Opened*> table_of(const std::string& name) {
    const auto found = tables_.find(name);
    if (found == tables_.end()) return wrong("no table " + name);
    return found->second.get();
  }
  Result<Opened::Issued*> ticket_of(const Words& words) {
    const auto found = tickets_.find(words.word(1));
    if (found == tickets_.end()) return wrong("no ticket " + words.word(1));
    return found->second.get();
  }
  std::string with_ticket(const Words& words,
                          const std::function<std::string(Opened::Issued&)>& then) {
    auto issued = ticket_of(words);
    return issued.ok() ? then(**issued) : told(issued.error());
  }

  std::string issue(const Words& words) {
    auto table = table_of(words.word(2));
    if (!table.ok()) return told(table.error());
    After after;
    if (words.has("after")) {
      const auto first = tickets_.find(words.text("after"));
      if (first == tickets_.end()) return told(wrong("no ticket " + words.text("after")));
      after = After(first->second->ticket);
    }
    auto issued = (*table)->issue(*worker_, words.word(0), words, after);
    if (!issued.ok()) return told(issued.error());
    tickets_[words.word(1)] = std::move(*issued);
    return "ok";
  }
  std::string wait(const Words& words) {
    return with_ticket(words, [&](Opened::Issued& issued) {
      return words.has("for")
                 ? told(issued.ticket.wait_for(parse_duration(words.text("for")).value()))
                 : told(issued.ticket.wait());
    });
  }
  std::string ready(const Words& words) {
    return with_ticket(words, [](Opened::Issued& issued) {
      return std::string("ok ready=") + (issued.ticket.ready() ? "1" : "0");
    });
  }
  std::string cancel(const Words& words) {
    return with_ticket(words, [](Opened::Issued& issued) {
      issued.ticket.cancel();
      return std::string("ok");
    });
  }
  std::string forget(const Words& words) {
    return tickets_.erase(words.word(1)) == 1 ? "ok" : told(wrong("no ticket " + words.word(1)));
  }
  std::string fill(const Words& words) {
    return with_ticket(words, [&](Opened::Issued& issued) {
      issued.memory().fill(static_cast<unsigned char>(std::stoi(words.word(2))));
      return std::string("ok");
    });
  }
  std::string unchanged(const Words& words) {
    return with_ticket(words, [&](Opened::Issued& issued) {
      const auto byte = static_cast<std::byte>(std::stoi(words.word(2)));
      const auto bytes = issued.memory().bytes();
      const auto changed =
          std::count_if(bytes.begin(), bytes.end(), [&](std::byte at) { return at != byte; });
      return "ok changed=" + std::to_string(changed);
    });
  }
  std::string values(const Words& words) {
    return with_ticket(words,
                       [](Opened::Issued& issued) { return "ok " + issued.memory().summary(); });
  }
  std::string bits(const Words& words) {
    return with_ticket(words, [](Opened::Issued& issued) {
      std::uint64_t first = 0;
      const auto bytes = issued.memory().bytes();
      std::memcpy(&first, bytes.data(), std::min(sizeof first, bytes.size()));
      std::ostringstream out;
      out << "ok bits=0x" << std::hex << first;
      return out.str();
    });
  }

  /// Issues as fast as it can, without waiting; tells how many were taken.
  std::string flood(const Words& words) {
    auto table = table_of(words.word(3));
    if (!table.ok()) return told(table.error());
    int taken = 0;
    const int count = std::stoi(words.word(1));
    std::string refused;
    for (int i = 0; i < count; ++i) {
      auto issued = (*table)->issue(*worker_, words.word(2), words, {});
      if (!issued.ok()) return told(issued.error());
      // A call that was not taken is done at once, with the reason.
      if (const auto at_once = (*issued)->ticket.wait_for(Duration(0));
          !at_once.ok() && at_once.code() == Errc::overloaded) {
        refused = at_once.error().what;
      } else {
        ++taken;
        flood_.push_back(std::move(*issued));
      }
    }
    return "ok taken=" + std::to_string(taken) + " refused=" + std::to_string(count - taken) + " " +
           refused;
  }
  std::string drain(const Words&) {
    Ends ends;
    for (auto& issued : flood_) ++ends[std::string(name_of(issued->ticket.wait().code()))];
    flood_.clear();
    return told(ends);
  }
  std::string stream(const Words& words) {
    auto table = table_of(words.word(3));
    if (!table.ok()) return told(table.error());
    const int count = std::stoi(words.word(1));
    const auto ticket = [&](int i) -> auto& {
      return tickets_["stream" + std::to_string(i % count)];
    };
    Ends ends;
    bool failed = false;
    for (int issued = 0, ended = 0; ended < issued || !failed; ++ended) {
      for (; !failed && issued < ended + count; ++issued) {
        auto next = (*table)->issue(*worker_, words.word(2), words, {});
        if (!next.ok()) return told(next.error());
        ticket(issued) = std::move(*next);
      }
      const auto end = ticket(ended)->ticket.wait();
      ++ends[std::string(name_of(end.code()))];
      failed = failed || !end.ok();
      if (!failed) say("round " + std::to_string(ended + 1));
    }
    return told(ends);
  }

  std::string train(const Words& words) {
    auto table = table_of(words.word(1));
    if (!table.ok()) return told(table.error());
    const int rounds = std::stoi(words.word(2));
    for (int i = 0; i < rounds; ++i) {
      auto pull = (*table)->issue(*worker_, "pull", words, {});
      if (!pull.ok()) return told(pull.error());
      if (auto done = (*pull)->ticket.wait(); !done.ok()) return told(done.error());
      auto push = (*table)->issue(*worker_, "push", words, {});
      if (!push.ok()) return told(push.error());
      if (auto done = (*push)->ticket.wait(); !done.ok()) return told(done.error());
      worker_->tick();
      say("round " + std::to_string(i + 1) + " " + (*pull)->out->summary());
    }
    return "ok clock=" + std::to_string(worker_->clock().value);
  }

  std::string watch(const Words& words) {
    auto table = table_of(words.word(1));
    if (!table.ok()) return told(table.error());
    int torn = 0, backwards = 0;
    float last = 0;
    for (int i = std::stoi(words.word(2)); i > 0; --i) {
      auto pull = (*table)->issue(*worker_, "pull", words, {});
      if (!pull.ok()) return told(pull.error());
      if (auto done = (*pull)->ticket.wait(); !done.ok()) return told(done.error());
      const auto bytes = (*pull)->out->bytes();
      const std::span rows(reinterpret_cast<const float*>(bytes.data()), bytes.size() / 4);
      torn += std::any_of(rows.begin(), rows.end(), [&](float row) { return row != rows[0]; });
      backwards += rows[0] < last;
      last = rows[0];
    }
    return "ok torn=" + std::to_string(torn) + " backwards=" + std::to_string(backwards) +
           " last=" + std::to_string(last);
  }
  std::string reads(const Words&) {
    const auto counts = worker_->one_sided();
    return "ok reads=" + std::to_string(counts.reads) +
           " retries=" + std::to_string(counts.retries) +
           " no_path=" + std::to_string(counts.fell_back(Fallback::no_path)) +
           " fell_back=" + std::to_string(counts.fell_back());
  }

  std::string tick(const Words&) {
    worker_->tick();
    return clock(Words("clock"));
  }
  std::string clock(const Words&) {
    return "ok clock=" + std::to_string(worker_->clock().value) +
           " rank=" + std::to_string(worker_->rank().value) +
           " workers=" + std::to_string(worker_->worker_count());
  }
  std::string barrier(const Words& words) { return told(worker_->barrier(timeout_of(words))); }
  std::string flush(const Words& words) { return told(worker_->flush(timeout_of(words))); }
  std::string leave(const Words&) { return told(worker_->leave()); }
  std::string set(const Words& words) {
    auto table = table_of(words.word(1));
    if (!table.ok()) return told(table.error());
    return told((*table)->handle().set_parameter(words.word(2), std::stod(words.word(3))));
  }
  std::string drop(const Words& words) {
    auto table = table_of(words.word(1));
    return told(table.ok() ? (*table)->handle().drop() : Status(table.error()));
  }
  std::string explain(const Words&) {
    auto text = worker_->explain();
    std::replace(text.begin(), text.end(), '\n', ';');
    return "ok " + text;
  }

  const std::map<std::string, Verb> verbs_{
      {"connect", &Program::connect}, {"open", &Program::open},
      {"push", &Program::issue},      {"pull", &Program::issue},
      {"push_pull", &Program::issue}, {"store", &Program::issue},
      {"wait", &Program::wait},       {"ready", &Program::ready},
      {"cancel", &Program::cancel},   {"forget", &Program::forget},
      {"fill", &Program::fill},       {"unchanged", &Program::unchanged},
      {"values", &Program::values},   {"bits", &Program::bits},
      {"flood", &Program::flood},     {"drain", &Program::drain},
      {"stream", &Program::stream},   {"train", &Program::train},
      {"watch", &Program::watch},     {"reads", &Program::reads},
      {"tick", &Program::tick},       {"clock", &Program::clock},
      {"barrier", &Program::barrier}, {"flush", &Program::flush},
      {"leave", &Program::leave},     {"set", &Program::set},
      {"drop", &Program::drop},       {"explain", &Program::explain}};

  std::unique_ptr<Worker> worker_;
  std::map<std::string, std::unique_ptr<Opened>> tables_;
  std::map<std::string, std::unique_ptr<Opened::Issued>> tickets_;
  std::vector<std::unique_ptr<Opened::Issued>> flood_;
};

}  // namespace
}  // namespace shoal::e2e

int main() {
  shoal::e2e::Program program;
  for (std::string line; std::getline(std::cin, line);)
    if (!program.run(line)) break;
  return 0;
}
