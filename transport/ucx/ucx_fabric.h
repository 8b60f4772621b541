#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/base/clock.h"
#include "core/base/owner.h"
#include "transport/fabric.h"
#include "transport/links.h"
#include "transport/ucx/link.h"
#include "transport/ucx/shared_pages.h"
#include "transport/ucx/wait_set.h"

namespace shoal::ucx {

/// Links over active messages of UCP. poll() reads top to bottom in ucx_poll.cc. See
/// docs/design/ucx.md.
class UcxFabric final : public Fabric {
 public:
  /// `packed`: as create_packed_type() made it; ends with the fabric. `clock` outlives it.
  UcxFabric(std::unique_ptr<Api> api, std::unique_ptr<Context> context, ucp_datatype_t packed,
            WaitSet wait_set, const Options& options, const Clock& clock);
  ~UcxFabric() override;

  std::string_view name() const override { return "ucx"; }
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
  std::string why_silent() const override {
    return "a device that leads nowhere, which UCX_NET_DEVICES or 'devices' can leave out? Over "
           "soft-RoCE UCX needs UCX_UD_VERBS_ETH_DGID_CHECK=n";
  }

  Result<Card> expose(std::uint64_t region, MemoryView memory, Access access) override;
  void conceal(std::uint64_t region) override;
  Result<RegionKey> import_key(EndpointId endpoint, std::span<const std::byte> card) override;
  void forget_key(EndpointId endpoint, const RegionKey& key) override;
  /// Bytes are copied through UCX's own memory whatever they come from.
  Status attach(MemoryView) override { return {}; }
  void detach(MemoryView) override {}
  bool pins() const override { return false; }
  bool reads_by_copy(const RegionKey& key) const override { return key.words[1] != 0; }
  bool read_in_place(EndpointId endpoint, const RegionKey& key, std::uint64_t offset,
                     std::size_t bytes, const Transport::Use& use) override;
  MemoryView allocate_shared(std::size_t bytes) override { return pool_.allocate(bytes); }
  bool deallocate_shared(MemoryView memory) override { return pool_.deallocate(memory); }

  Status send(EndpointId endpoint, const FrameHeader& header, std::span<const std::byte> meta,
              std::span<const ConstMemoryView> payload,
              const Transport::SendOptions& options) override;
  Status read(EndpointId endpoint, MemoryView to, const RegionKey& key, std::uint64_t offset,
              std::uint64_t context) override;
  Status write(EndpointId endpoint, ConstMemoryView from, const RegionKey& key,
               std::uint64_t offset, std::uint64_t context) override;
  std::size_t poll(std::span<Event> events) override;
  void flush() override;
  std::vector<int> wait_fds() const override { return {wait_set_.fd()}; }
  bool arm() override;
  void release_owner() override { owner_.release(); }

 private:
  // ucx_fabric.cc
  Result<Link*> add_link(EndpointId endpoint);
  std::size_t free_turnstile() const;
  void admit(const Link& link);
  void bar(const Link& link);
  void remove_link(Link& link);
  void destroy(std::unique_ptr<Link> link);

  // ucx_poll.cc
  void recycle();
  void push();
  void progress(PollOutput& out);
  bool progress_once(PollOutput& out);
  void report_completed(PollOutput& out);
  void report_arrived(PollOutput& out);
  void end_lost();
  void tend_graves();

  const std::unique_ptr<Api> api_;
  const Clock& clock_;
  const bool other_hosts_;    ///< as Options'
  const bool pins_;           ///< as Options'
  const std::uint64_t host_;  ///< as OfferCard's
  Owner owner_;
  // What links are made of goes last.
  const std::unique_ptr<Context> context_;
  WaitSet wait_set_;
  SharedPool pool_;
  Shared shared_;
  std::vector<std::unique_ptr<Link>> links_;
  LinkMap<Link> by_endpoint_;
  std::size_t first_ = 0;  ///< of links_, in the next poll
  std::vector<std::unique_ptr<Link>> graves_;
};

}  // namespace shoal::ucx
