#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/base/clock.h"
#include "core/base/owner.h"
#include "transport/fabric.h"
#include "transport/links.h"
#include "transport/verbs/link.h"
#include "transport/verbs/numa.h"
#include "transport/verbs/pairing.h"
#include "transport/verbs/registration.h"

namespace shoal::verbs {

/// Links over reliable-connected queue pairs. poll() reads top to bottom in verbs_poll.cc.
class VerbsFabric final : public Fabric {
 public:
  /// `rails`: at least one, of which a link uses up to `strands_max`; `left_out`: the other ports
  /// of this machine, and why; `clock`, `counters` and `exporter` (both optional) outlive it.
  VerbsFabric(std::unique_ptr<Api> api, std::vector<std::unique_ptr<Rail>> rails,
              std::string left_out, std::size_t strands_max, const Clock& clock, Counters* counters,
              DmaBufExporter* exporter, Numa numa);
  ~VerbsFabric() override;

  std::string_view name() const override { return "verbs"; }
  Card offer() const override;
  Result<Card> begin(EndpointId endpoint, std::span<const std::byte> offer) override;
  Result<Card> answer(EndpointId endpoint, std::span<const std::byte> begun) override;
  Status finish(EndpointId endpoint, std::span<const std::byte> answer) override;
  std::size_t try_bytes(EndpointId endpoint) const override;
  void close(EndpointId endpoint) override;
  bool drained(EndpointId endpoint) override;
  void drop(EndpointId endpoint) override;
  void lose(EndpointId endpoint, Errc why) override;
  std::string explain(EndpointId endpoint) const override;
  std::string explain_unused(EndpointId endpoint) const override;

  Result<Card> expose(std::uint64_t region, MemoryView memory, Access access) override;
  Result<Card> expose_on_demand(std::uint64_t region, MemoryView memory, Access access) override;
  void conceal(std::uint64_t region) override;
  Result<RegionKey> import_key(EndpointId endpoint, std::span<const std::byte> card) override;
  void forget_key(EndpointId, const RegionKey&) override {}
  Status attach(MemoryView memory) override;
  void detach(MemoryView memory) override;
  bool pins() const override { return true; }
  bool pages_on_demand() const override;
  bool one_sided() const override { return true; }

  Status send(EndpointId endpoint, const FrameHeader& header, std::span<const std::byte> meta,
              std::span<const ConstMemoryView> payload,
              const Transport::SendOptions& options) override;
  Status read(EndpointId endpoint, MemoryView to, const RegionKey& key, std::uint64_t offset,
              std::uint64_t context) override;
  Status write(EndpointId endpoint, ConstMemoryView from, const RegionKey& key,
               std::uint64_t offset, std::uint64_t context) override;
  std::size_t poll(std::span<Event> events) override;
  void flush() override;
  std::vector<int> wait_fds() const override;
  bool arm() override;
  void release_owner() override { owner_.release(); }

 private:
  /// Memory that transfers use without a copy, and its registration with each rail.
  struct Attached {
    MemoryView memory;
    std::vector<MemoryRegion> regions;
    int numa_node = -1;
  };
  /// Which pair a receive came on.
  struct Receiver {
    Link* link = nullptr;
    std::size_t strand = 0;
    Lane lane = Lane::message;
  };

  // verbs_fabric.cc
  Result<Card> expose(std::uint64_t region, MemoryView memory, Access access, Paging paging);
  Status usable(std::uint32_t rail) const;
  std::string words_of_others(const Link& link,
                              const std::function<std::string(std::uint32_t rail)>& why_not) const;
  void suspect(std::uint32_t rail);
  Result<Link*> add_link(EndpointId endpoint, std::span<const Pairing> pairings);
  void remove_link(Link& link);
  void mark_dirty(Link& link);
  void complete(Link& link, const Completion& completion, Errc status);
  const Attached* find_attached(const std::byte* data, std::uint64_t bytes);
  std::size_t first_strand(Link& link, std::uint64_t bytes, const Attached* attached) const;
  Status transfer(EndpointId endpoint, Use use, MemoryView own, const RegionKey& key,
                  std::uint64_t offset, Completion completion);

  // verbs_poll.cc
  void recycle();
  void flush_dirty();
  void report_completed(PollOutput& out);
  bool take_completions(PollOutput& out);
  bool take_of_queue(std::uint32_t rail, std::size_t queue, PollOutput& out);
  void on_received(const ibv_wc& completion, std::uint32_t rail, PollOutput& out);
  bool hold(Link& link, const ibv_wc& completion, const FrameView& frame,
            std::unique_ptr<Assembly>& whole);
  BulkGate::Held copy_held(BulkGate::Strands awaits, const FrameView& frame);
  void report_held(PollOutput& out);
  bool gates_open() const;
  void on_posted(const ibv_wc& completion, std::uint32_t rail);
  void hear_news(TimePoint now);
  void lose_link(Link& link, Errc why, const std::string& what);
  void lose_links(std::uint32_t rail, const std::string& what);
  void end_lost();

  const std::unique_ptr<Api> api_;
  const std::string left_out_;
  const std::size_t strands_max_;
  const Numa numa_;
  const Clock& clock_;
  Counters own_counters_;
  Counters& counters_;
  DmaBufExporter* const exporter_;
  Owner owner_;
  // What links and memory are made of goes last.
  std::vector<std::unique_ptr<Rail>> rails_;
  std::vector<std::unordered_map<std::uint32_t, Receiver>> receivers_;  ///< by rail, pair number
  std::unordered_map<std::uint64_t, Attached> exposed_;                 ///< by region
  std::vector<Attached> attached_;                                      ///< by address
  std::size_t last_attached_ = 0;                                       ///< found the last time
  std::vector<std::unique_ptr<Link>> links_;                            ///< by index; null: free
  LinkMap<Link> by_endpoint_;
  std::vector<EndpointId> dirty_;
  std::vector<EndpointId> scratch_;
  std::vector<EndpointId> lost_;
  std::vector<EndpointId> gated_;         ///< have frames that wait for tokens
  std::vector<TimePoint> suspect_until_;  ///< by rail
  Ring<Event> completed_;
  struct Used {
    std::uint32_t rail = 0;
    ibv_wc completion{};
  };
  std::vector<Used> used_;  ///< receives whose frames were reported by the last poll
  std::vector<std::unique_ptr<Assembly>> spare_;
  std::vector<std::unique_ptr<Assembly>> reported_;
  TimePoint next_news_ = TimePoint::min();
};

}  // namespace shoal::verbs
