#include "core/cluster/messages.h"

#include <algorithm>
#include <type_traits>

namespace shoal {

namespace {

constexpr std::uint8_t kRoleCount = 3;

void put_duration(Writer& out, Duration duration) { out.put(std::int64_t{duration.count()}); }

Duration get_duration(Reader& in) {
  const auto count = in.get<std::int64_t>();
  if (count < 0) in.fail();
  return Duration(count);
}

/// A clock that a correct peer can have.
WorkerClock get_clock(Reader& in) {
  const auto clock = in.get<WorkerClock>();
  if (clock.value < 0 || clock > kClockMax) in.fail();
  return clock;
}

// One `read` for each message; `name` is for errors.

void read(Reader& in, Hello& m) {
  m.node = in.get<NodeId>();
  m.incarnation = in.get<Incarnation>();
  m.role = in.get_enum<Role>(kRoleCount);
  m.expected = in.get<NodeId>();
  m.expected_incarnation = in.get<Incarnation>();
}

void read(Reader& in, Welcome& m) {
  m.node = in.get<NodeId>();
  m.incarnation = in.get<Incarnation>();
  m.credits = in.get<std::uint32_t>();
  m.parked_quota = in.get<std::uint32_t>();
}

void read(Reader& in, Join& m) {
  m.role = in.get_enum<Role>(kRoleCount);
  m.incarnation = in.get<Incarnation>();
  m.name = in.get_string(kNodeNameBytesMax);
  m.address = in.get_string(kNodeAddressBytesMax);
  m.memory_bytes = in.get<std::uint64_t>();
  m.rules = decode_rules(in);
  if (m.role != Role::server && (!m.rules.empty() || m.memory_bytes != 0)) in.fail();
}

void read(Reader& in, Joined& m) {
  m.node = in.get<NodeId>();
  m.rank = in.get<Rank>();
  m.start = get_clock(in);
  m.lease = get_duration(in);
  m.beat = get_duration(in);
}

void read(Reader& in, Heartbeat& m) {
  m.node = in.get<NodeId>();
  m.incarnation = in.get<Incarnation>();
  m.turns = in.get<std::uint64_t>();
}

void read(Reader& in, Tick& m) {
  m.node = in.get<NodeId>();
  m.reported = get_clock(in);
  m.local = get_clock(in);
  if (m.reported > m.local) in.fail();
  m.bytes_pushed = in.get<std::uint64_t>();
  m.bytes_pulled = in.get<std::uint64_t>();
  m.pushes = in.get<std::uint64_t>();
  m.pulls = in.get<std::uint64_t>();
  m.parked = in.get<std::uint64_t>();
  m.sparse_bytes = in.get<std::uint64_t>();
}

void read(Reader& in, GlobalClock& m) {
  m.holder = in.get<NodeId>();
  m.roster = in.get<std::uint32_t>();
}

void read(Reader& in, Straggler& m) {
  m.worker = in.get<NodeId>();
  m.reported = get_clock(in);
  m.local = get_clock(in);
  if (m.reported > m.local) in.fail();
  m.others = in.get<std::uint32_t>();
}

void read(Reader& in, SetParameter& m) {
  m.name = in.get_string(kTableNameBytesMax);
  m.value = in.get<double>();
  m.from_clock = in.get<WorkerClock>();
  if (m.from_clock.value < -1 || m.from_clock > kClockMax) in.fail();
}

void read(Reader& in, Barrier& m) {
  m.node = in.get<NodeId>();
  m.number = in.get<std::uint64_t>();
}

void read(Reader& in, Leave& m) { m.node = in.get<NodeId>(); }

void read(Reader& in, ReportLost& m) {
  m.node = in.get<NodeId>();
  m.incarnation = in.get<Incarnation>();
}

template <class M>
constexpr const char* kName = nullptr;
template <>
constexpr const char* kName<Hello> = "hello";
template <>
constexpr const char* kName<Welcome> = "welcome";
template <>
constexpr const char* kName<Join> = "join";
template <>
constexpr const char* kName<Joined> = "answer to a join";
template <>
constexpr const char* kName<Heartbeat> = "heartbeat";
template <>
constexpr const char* kName<Tick> = "tick";
template <>
constexpr const char* kName<GlobalClock> = "global clock";
template <>
constexpr const char* kName<Straggler> = "straggler";
template <>
constexpr const char* kName<SetParameter> = "change of a parameter";
template <>
constexpr const char* kName<Barrier> = "barrier";
template <>
constexpr const char* kName<Leave> = "leave";
template <>
constexpr const char* kName<ReportLost> = "report of a lost server";

}  // namespace

void encode(Writer& out, const Hello& m) {
  out.put(m.node);
  out.put(m.incarnation);
  out.put(m.role);
  out.put(m.expected);
  out.put(m.expected_incarnation);
}

void encode(Writer& out, const Welcome& m) {
  out.put(m.node);
  out.put(m.incarnation);
  out.put(m.credits);
  out.put(m.parked_quota);
}

void encode(Writer& out, const Join& m) {
  out.put(m.role);
  out.put(m.incarnation);
  out.put_string(m.name);
  out.put_string(m.address);
  out.put(m.memory_bytes);
  encode(out, m.rules);
}

void encode(Writer& out, const Joined& m) {
  out.put(m.node);
  out.put(m.rank);
  out.put(m.start);
  put_duration(out, m.lease);
  put_duration(out, m.beat);
}

void encode(Writer& out, const Heartbeat& m) {
  out.put(m.node);
  out.put(m.incarnation);
  out.put(m.turns);
}

void encode(Writer& out, const Tick& m) {
  out.put(m.node);
  out.put(m.reported);
  out.put(m.local);
  out.put(m.bytes_pushed);
  out.put(m.bytes_pulled);
  out.put(m.pushes);
  out.put(m.pulls);
  out.put(m.parked);
  out.put(m.sparse_bytes);
}

void encode(Writer& out, const GlobalClock& m) {
  out.put(m.holder);
  out.put(m.roster);
}

void encode(Writer& out, const Straggler& m) {
  out.put(m.worker);
  out.put(m.reported);
  out.put(m.local);
  out.put(m.others);
}

void encode(Writer& out, const SetParameter& m) {
  out.put_string(m.name);
  out.put(m.value);
  out.put(m.from_clock);
}

void encode(Writer& out, const Barrier& m) {
  out.put(m.node);
  out.put(m.number);
}

void encode(Writer& out, const Leave& m) { out.put(m.node); }

void encode(Writer& out, const ReportLost& m) {
  out.put(m.node);
  out.put(m.incarnation);
}

template <class M>
Result<M> decode(std::span<const std::byte> bytes) {
  if constexpr (std::is_same_v<M, Joined>)
    bytes = bytes.first(std::min(bytes.size(), kJoinedBytes));
  Reader in(bytes);
  M m;
  read(in, m);
  SHOAL_TRY(in.finish(kName<M>));
  return m;
}

template Result<Hello> decode(std::span<const std::byte>);
template Result<Welcome> decode(std::span<const std::byte>);
template Result<Join> decode(std::span<const std::byte>);
template Result<Joined> decode(std::span<const std::byte>);
template Result<Heartbeat> decode(std::span<const std::byte>);
template Result<Tick> decode(std::span<const std::byte>);
template Result<GlobalClock> decode(std::span<const std::byte>);
template Result<Straggler> decode(std::span<const std::byte>);
template Result<SetParameter> decode(std::span<const std::byte>);
template Result<Barrier> decode(std::span<const std::byte>);
template Result<Leave> decode(std::span<const std::byte>);
template Result<ReportLost> decode(std::span<const std::byte>);

}  // namespace shoal
