#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/base/random.h"
#include "tests/transport/fake_transport.h"
#include "transport/session.h"
#include "transport/sim/driver.h"
#include "transport/sim/sim.h"

// Sessions on the simulated network, under many seeds of lost connections, partitions, stopped and
// crashed peers. SHOAL_SEED=n replays one.

namespace shoal {
namespace {

using namespace std::chrono_literals;

std::uint64_t digest(std::uint64_t sum, std::span<const std::byte> bytes) {
  for (const auto b : bytes) sum = mix64(sum ^ static_cast<std::uint64_t>(b));
  return sum;
}

std::uint64_t digest(const FrameView& frame) {
  auto header = frame.header;
  header.checksum = 0;
  auto sum = digest(1, std::as_bytes(std::span(&header, 1)));
  sum = digest(sum, frame.meta);
  return digest(sum, frame.payload);
}

/// What outlives the processes: what each request looked like when it was first seen, and who
/// failed.
struct Book {
  explicit Book(std::uint64_t s) : seed(s), random(s) {}
  std::uint64_t seed;
  Random random;
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> seen;  // (client, id) -> digest
  std::uint64_t repeats = 0, parked = 0, kept_off = 0, stopped_lending = 0;
};

/// Answers each request with its digest: at once, later, or after parking it.
class Answerer final : public Pollable {
 public:
  Answerer(std::unique_ptr<Transport> t, const Address& at, Book& book, std::uint64_t incarnation)
      : transport_(std::move(t)), book_(book), sessions_(*transport_, options(book, incarnation)) {
    EXPECT_TRUE(transport_->listen(at).ok());
  }
  static SessionServer::Options options(Book& book, std::uint64_t incarnation) {
    SessionServer::Options o;
    o.node = NodeId(1);
    o.incarnation = Incarnation(incarnation);
    o.credits = 1 + static_cast<std::uint32_t>(book.seed % 7);
    o.parked_quota = static_cast<std::uint32_t>(book.seed % 5);
    o.hello_timeout = 200ms;
    return o;
  }
  bool poll(TimePoint now) override {
    Event events[8];
    const auto count = transport_->poll(events);
    for (std::size_t i = 0; i < count; ++i) {
      SessionServer::Served served;
      if (!sessions_.handle(events[i], now, served)) continue;
      EXPECT_NE(served.status, Errc::protocol);
      if (served.kind == SessionServer::Kind::request) take(served, now);
      if (served.kind == SessionServer::Kind::gone)
        std::erase_if(waiting_, [&](const Waiting& w) { return w.from == served.peer->endpoint; });
    }
    answer_due(now);
    sessions_.poll(now);
    check();
    transport_->flush();
    return count > 0;
  }
  TimePoint next_timer() const override {
    auto next = std::min(sessions_.next_timer(), transport_->next_timer());
    for (const auto& w : waiting_) next = std::min(next, w.due);
    return next;
  }
  Transport& transport() override { return *transport_; }
  SessionServer& sessions() { return sessions_; }
  bool idle() const { return waiting_.empty(); }

 private:
  struct Waiting {
    EndpointId from;
    RequestId id;
    std::uint64_t digest;
    bool parked;
    TimePoint due;
  };
  void take(const SessionServer::Served& served, TimePoint now) {
    auto& peer = *served.peer;
    const auto id = served.frame.header.request;
    auto& last = last_id_[peer.endpoint];
    EXPECT_GT(id.value, last) << "out of order, or twice on one connection";
    last = id.value;
    const auto sum = digest(served.frame);
    const auto [first, fresh] =
        book_.seen.emplace(std::pair{peer.incarnation.value, id.value}, sum);
    if (!fresh) ++book_.repeats;
    EXPECT_EQ(first->second, sum) << "a repeat has other bytes";
    const bool parked = book_.random.chance(0.3) && sessions_.park(peer.endpoint, WorkerClock(3));
    book_.parked += parked ? 1 : 0;
    const auto wait = book_.random.chance(0.4) ? 0 : book_.random.below(5'000'000);
    waiting_.push_back({peer.endpoint, id, sum, parked, now + Duration(wait)});
  }
  void answer_due(TimePoint now) {
    std::erase_if(waiting_, [&](const Waiting& w) {
      if (w.due > now) return false;
      Transport::SendOptions send;
      send.copy_payload = true;
      send.lane = book_.random.chance(0.3) ? Lane::bulk : Lane::message;
      const auto bytes = std::as_bytes(std::span(&w.digest, 1));
      const ConstMemoryView view(bytes.data(), bytes.size());
      EXPECT_TRUE(
          sessions_.answer(w.from, w.id, {}, bytes, std::span(&view, 1), send, w.parked).ok());
      return true;
    });
  }
  void check() {
    std::map<EndpointId, std::uint32_t> plain, parked;
    for (const auto& w : waiting_) ++(w.parked ? parked : plain)[w.from];
    const auto o = options(book_, 0);
    sessions_.for_each([&](SessionServer::Peer& peer) {
      EXPECT_LE(peer.unanswered, o.credits);
      EXPECT_LE(peer.parked, o.parked_quota);
      EXPECT_GE(peer.unanswered, plain[peer.endpoint]);
      EXPECT_GE(peer.parked, parked[peer.endpoint]);
    });
  }

  std::unique_ptr<Transport> transport_;
  Book& book_;
  SessionServer sessions_;
  std::vector<Waiting> waiting_;
  std::unordered_map<EndpointId, std::uint64_t> last_id_;
};

/// Makes requests of random bytes; knows what has to come back, and when its memory is its own
/// again.
class Asker final : public Pollable {
 public:
  Asker(SimNetwork& network, std::unique_ptr<Transport> t, const Address& server, Book& book,
        std::uint64_t incarnation, std::uint32_t total)
      : network_(network),
        transport_(std::move(t)),
        book_(book),
        total_(total),
        incarnation_(incarnation),
        session_(*transport_, options(server, book, incarnation)) {}
  ~Asker() override {
    for (auto& memory : ended_) network_.unprotect({memory->data(), memory->size()});
  }
  static Session::Options options(const Address& server, Book& book, std::uint64_t incarnation) {
    Session::Options o;
    o.peer = server;
    o.hello.incarnation = Incarnation(incarnation);
    o.requests_max = 12;
    o.connect_timeout = 100ms;
    o.backoff_min = 1ms;
    o.backoff_max = 50ms;
    o.seed = book.seed + incarnation;
    return o;
  }
  bool poll(TimePoint now) override {
    Event events[8];
    const auto count = transport_->poll(events);
    for (std::size_t i = 0; i < count; ++i) {
      Incoming incoming;
      if (session_.handle(events[i], now, incoming)) take(incoming);
    }
    bool any = count > 0;
    while (made_ < total_ && book_.random.chance(0.7) && ask()) any = true;
    if (book_.random.chance(0.02)) withdraw_one();
    if (book_.random.chance(0.005)) {
      session_.break_connection();
      end_withdrawn();
    }
    session_.poll(now);
    EXPECT_LE(session_.credits(), session_.peer().credits);
    transport_->flush();
    return any;
  }
  TimePoint next_timer() const override {
    return std::min(session_.next_timer(), transport_->next_timer());
  }
  Transport& transport() override { return *transport_; }
  Session& session() { return session_; }
  bool done() const { return made_ == total_ && open_.size() == withdrawn_; }
  std::uint32_t answered() const { return answered_; }
  std::uint32_t withdrawn_ever() const { return withdrawn_ever_; }
  std::uint32_t total() const { return total_; }

 private:
  struct Request {
    std::unique_ptr<std::vector<std::byte>> memory;
    std::uint64_t digest = 0;
    std::uint64_t context = 0;
    bool withdrawn = false;
  };
  static ConstMemoryView view(const Request& r) { return {r.memory->data(), r.memory->size()}; }

  bool ask() {
    Request r;
    const auto payload_bytes = 1 + book_.random.below(200);
    r.memory = std::make_unique<std::vector<std::byte>>(payload_bytes);
    for (auto& b : *r.memory) b = static_cast<std::byte>(book_.random.next());
    std::vector<std::byte> meta(book_.random.below(100));
    for (auto& b : meta) b = static_cast<std::byte>(book_.random.next());
    const auto half = payload_bytes / 2;
    const ConstMemoryView views[2] = {view(r).sub(0, half),
                                      view(r).sub(half, payload_bytes - half)};
    FrameHeader header = test::header_of(FrameKind::push);
    header.clock = WorkerClock(static_cast<std::int64_t>(book_.random.below(1000)));
    r.context = book_.random.next();
    const auto id = session_.request(header, meta, views, r.context);
    if (!id.ok()) {
      EXPECT_EQ(id.code(), Errc::overloaded);
      ++book_.kept_off;
      return false;
    }
    header.request = *id;
    header.meta_bytes = static_cast<std::uint32_t>(meta.size());
    header.payload_bytes = payload_bytes;
    r.digest = digest({header, meta, *r.memory});
    ++made_;
    EXPECT_TRUE(open_.emplace(id->value, std::move(r)).second) << "an id was used again";
    return true;
  }
  void take(const Incoming& incoming) {
    EXPECT_NE(incoming.status, Errc::protocol) << session_.explain();
    if (incoming.kind == Incoming::Kind::broken) return end_withdrawn();
    if (incoming.kind != Incoming::Kind::answer) return;
    const auto found = open_.find(incoming.id.value);
    ASSERT_TRUE(found != open_.end()) << "answered twice, or never asked";
    auto& r = found->second;
    EXPECT_FALSE(r.withdrawn) << "an answer to a request that was withdrawn";
    EXPECT_EQ(incoming.context, r.context);
    std::uint64_t sum = 0;
    ASSERT_EQ(incoming.frame.meta.size(), sizeof sum);
    std::memcpy(&sum, incoming.frame.meta.data(), sizeof sum);
    EXPECT_EQ(sum, r.digest) << "the answer to other bytes";
    ++answered_;
    end_loan(std::move(r));
    open_.erase(found);
  }
  void withdraw_one() {
    for (auto& [id, r] : open_) {
      if (r.withdrawn || book_.random.chance(0.5)) continue;
      ++withdrawn_ever_;
      if (session_.withdraw(RequestId(id))) {
        EXPECT_FALSE(book_.seen.contains({incarnation_, id})) << "it was on a wire";
        end_loan(std::move(r));
        open_.erase(id);
      } else {
        r.withdrawn = true;  // still lent, until the connection ends
        ++withdrawn_;
      }
      return;
    }
  }
  void end_withdrawn() {
    for (auto entry = open_.begin(); entry != open_.end();) {
      const auto next = std::next(entry);
      if (entry->second.withdrawn) {
        --withdrawn_;
        ++book_.stopped_lending;
        end_loan(std::move(entry->second));
        open_.erase(entry);
      }
      entry = next;
    }
  }
  /// From here on the network complains if a byte of it still leaves.
  void end_loan(Request&& r) {
    r.withdrawn = false;
    network_.protect(view(r));
    ended_.push_back(std::move(r.memory));
  }

  SimNetwork& network_;
  std::unique_ptr<Transport> transport_;
  Book& book_;
  std::uint32_t total_;
  std::uint64_t incarnation_;
  std::map<std::uint64_t, Request> open_;
  std::vector<std::unique_ptr<std::vector<std::byte>>> ended_;
  std::uint32_t made_ = 0, answered_ = 0, withdrawn_ = 0, withdrawn_ever_ = 0;
  Session session_;
};

class Trial {
 public:
  explicit Trial(std::uint64_t seed) : book_(seed), network_(sim_options(seed)), driver_(network_) {
    server_node_ = network_.create_node("server");
    start_server();
    for (std::uint64_t i = 0; i < 3; ++i) {
      nodes_.push_back(network_.create_node("client" + std::to_string(i)));
      askers_.push_back(
          std::make_unique<Asker>(network_, network_.start(nodes_[i]), at_, book_, 100 + i, 120));
      driver_.attach(nodes_[i], *askers_[i]);
    }
  }
  ~Trial() {
    for (const auto node : nodes_) driver_.detach(node);
    driver_.detach(server_node_);
  }
  static SimOptions sim_options(std::uint64_t seed) {
    SimOptions o;
    o.seed = seed;
    o.keepalive = 50ms;
    if (seed % 3 == 0) o.queue_max = 4;  // full all the time
    if (seed % 3 == 1) o.window_pieces = 3;
    return o;
  }
  void start_server() {
    server_ =
        std::make_unique<Answerer>(network_.start(server_node_), at_, book_, ++server_starts_);
    driver_.attach(server_node_, *server_);
  }

  void fault() {
    auto& random = book_.random;
    const auto client = nodes_[random.below(nodes_.size())];
    switch (random.below(7)) {
      case 0:
      case 1:
        network_.drop_connections(client, server_node_);
        break;
      case 2:
        network_.partition(client, server_node_);
        break;
      case 3:
        network_.cut(random.chance(0.5) ? client : server_node_,
                     random.chance(0.5) ? server_node_ : nodes_[0]);
        break;
      case 4:
        network_.heal_all();
        break;
      case 5:
        if (network_.stopped(server_node_))
          network_.resume(server_node_);
        else if (network_.alive(server_node_))
          network_.stop(server_node_);
        break;
      case 6:
        if (network_.stopped(server_node_)) network_.resume(server_node_);
        driver_.detach(server_node_);
        network_.crash(server_node_, random.chance(0.3));
        server_.reset();
        driver_.run_until(network_.now() + Duration(random.below(20'000'000)));
        start_server();
        break;
    }
  }

  void go() {
    for (int i = 0; i < 25; ++i) {
      driver_.run_until(network_.now() + Duration(book_.random.below(10'000'000)));
      fault();
    }
    network_.heal_all();
    if (network_.stopped(server_node_)) network_.resume(server_node_);
    const auto limit = network_.now() + 60s;
    const bool ended = driver_.run_while_not(
        [&] {
          return std::all_of(askers_.begin(), askers_.end(), [](auto& a) { return a->done(); });
        },
        limit);
    EXPECT_TRUE(ended) << "faults have stopped, yet some request is not answered";
    // Credits: after a while with nothing under way every one is back, on both sides.
    driver_.run_until(network_.now() + 2s);
    for (auto& asker : askers_) {
      EXPECT_EQ(asker->answered() + asker->withdrawn_ever(), asker->total());
      EXPECT_EQ(asker->session().unanswered(), 0u);
      if (asker->session().open()) {
        EXPECT_EQ(asker->session().credits(), asker->session().peer().credits);
      }
    }
    server_->sessions().for_each([](SessionServer::Peer& peer) {
      EXPECT_EQ(peer.unanswered, 0u);
      EXPECT_EQ(peer.parked, 0u);
    });
    for (const auto& violation : network_.violations()) ADD_FAILURE() << violation;
  }
  const Book& book() const { return book_; }

 private:
  Book book_;
  SimNetwork network_;
  SimDriver driver_;
  Address at_{"server", 7000};
  SimNodeId server_node_;
  std::uint64_t server_starts_ = 0;
  std::unique_ptr<Answerer> server_;
  std::vector<SimNodeId> nodes_;
  std::vector<std::unique_ptr<Asker>> askers_;
};

TEST(SessionSearch, EveryRequestIsAnsweredOnceWhateverBreaks) {
  std::uint64_t first = 1, last = 500;
  if (const char* seed = std::getenv("SHOAL_SEED")) first = last = std::strtoull(seed, nullptr, 10);
  std::uint64_t repeats = 0, parked = 0, kept_off = 0, stopped_lending = 0;
  for (auto seed = first; seed <= last && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("replay: SHOAL_SEED=" + std::to_string(seed));
    Trial trial(seed);
    trial.go();
    repeats += trial.book().repeats;
    parked += trial.book().parked;
    kept_off += trial.book().kept_off;
    stopped_lending += trial.book().stopped_lending;
  }
  if (first == last) return;
  // The search has tried what it is for.
  EXPECT_GT(repeats, 100u);
  EXPECT_GT(parked, 100u);
  EXPECT_GT(kept_off, 100u);
  EXPECT_GT(stopped_lending, 10u);
}

}  // namespace
}  // namespace shoal
