#include "group/local/selection.h"

#include <fmt/core.h>

#include <string_view>
#include <utility>
#include <vector>

#include "group/local/host_group.h"
#include "group/local/nccl_group.h"
#include "group/local/notes.h"

namespace shoal::local {

namespace {

struct IdNote {
  OutcomeNote outcome;
  Nccl::Id id{};
};

std::string_view name_of(GroupAlgorithm algorithm) {
  switch (algorithm) {
    case GroupAlgorithm::automatic:
      return "automatic";
    case GroupAlgorithm::host:
      return "host";
    case GroupAlgorithm::nccl:
      return "nccl";
  }
  return "?";
}

Offer offer_of(const GroupOptions& options, const Result<std::shared_ptr<Nccl>>& nccl) {
  Offer offer;
  offer.algorithm = options.algorithm;
  offer.gpu = options.gpu != nullptr;
  if (offer.gpu) set_text(offer.address, options.gpu->address());
  if (nccl.ok())
    offer.nccl = (*nccl)->version();
  else
    set_text(offer.missing, nccl.error().what);
  return offer;
}

/// Why NCCL cannot be used; empty: it can.
std::string obstacle(std::span<const Offer> offers) {
  for (std::size_t m = 0; m < offers.size(); ++m) {
    const auto& offer = offers[m];
    if (!offer.gpu) return fmt::format("member {} has no GPU", m);
    if (offer.nccl == 0) return fmt::format("member {}: {}", m, offer.missing.data());
    if (offer.nccl != offers[0].nccl)
      return fmt::format("NCCL is of version {} at member 0 and {} at member {}", offers[0].nccl,
                         offer.nccl, m);
    for (std::size_t other = 0; other < m; ++other)
      if (std::string_view(offers[other].address.data()) == offer.address.data())
        return fmt::format(
            "members {} and {} share the GPU {}, and NCCL wants one of its own for "
            "each",
            other, m, offer.address.data());
  }
  return {};
}

OutcomeNote outcome_of(const Status& status) {
  OutcomeNote note;
  note.code = status.code();
  if (!status.ok()) set_text(note.text, status.error().what);
  return note;
}

Result<Nccl::Id> share_id(Meeting& meeting, Nccl& nccl, TimePoint deadline) {
  IdNote note;
  if (meeting.rank() == 0) {
    auto made = nccl.make_id();
    note.outcome = outcome_of(made.ok() ? Status() : Status(made.error()));
    if (made.ok()) note.id = *made;
  }
  SHOAL_TRY(meeting.step(note, deadline, "open_group"));
  const auto told = meeting.note_of<IdNote>(0);
  if (told.outcome.code != Errc::ok)
    return Error{told.outcome.code, fmt::format("member 0: {}", told.outcome.text.data())};
  return told.id;
}

/// Nothing, with the reason, if NCCL failed at some member and all know it: they are still
/// together.
struct Attempt {
  std::optional<NcclCommunicator> communicator;
  std::string why_not;
};

Result<Attempt> try_nccl(Meeting& meeting, Nccl& nccl, GroupGpu& gpu) {
  const auto deadline = meeting.deadline();
  Attempt attempt;
  auto id = share_id(meeting, nccl, deadline);
  SHOAL_TRY(meeting.check("open_group"));
  if (!id.ok()) {
    attempt.why_not = id.error().what;
    return attempt;
  }
  // The device becomes the thread's, for NCCL takes that one.
  auto current = gpu.device().record();
  auto made = current.ok() ? NcclCommunicator::connect(nccl, *id, meeting, deadline)
                           : Result<NcclCommunicator>(std::move(current).error());
  // Of a peer that is gone or late, nothing more will come.
  if (made.code() == Errc::timed_out) return meeting.fail(made.error());
  const auto mine = made.ok() ? Status() : Status(made.error());
  if (auto met = meeting.step(outcome_of(mine), meeting.deadline(), "open_group"); !met.ok()) {
    if (made.ok()) made->abort();
    return std::move(met).error();
  }
  for (std::uint32_t m = 0; m < meeting.size() && attempt.why_not.empty(); ++m)
    if (const auto told = meeting.note_of<OutcomeNote>(m);
        told.code != Errc::ok && told.code != Errc::cancelled)
      attempt.why_not = fmt::format("member {}: {}", m, told.text.data());
  if (attempt.why_not.empty() && made.ok()) {
    attempt.communicator.emplace(std::move(made).value());
  } else {
    if (attempt.why_not.empty()) attempt.why_not = "NCCL did not connect";
    if (made.ok()) made->abort();
  }
  return attempt;
}

std::unique_ptr<Group> host_group(std::unique_ptr<Meeting> meeting, const GroupOptions& options,
                                  std::string why) {
  return std::make_unique<HostGroup>(std::move(meeting), options.gpu, std::move(why));
}

}  // namespace

Result<Selection> select(const std::string& group, std::span<const Offer> offers) {
  const auto asked = offers[0].algorithm;
  for (std::size_t m = 1; m < offers.size(); ++m)
    if (offers[m].algorithm != asked)
      return Error{Errc::mismatch,
                   fmt::format("group '{}': member 0 asks for the algorithm {}, member {} for {}",
                               group, name_of(asked), m, name_of(offers[m].algorithm))};
  if (asked == GroupAlgorithm::host) return Selection{false, "asked for"};
  const auto why = obstacle(offers);
  if (why.empty())
    return Selection{
        true, asked == GroupAlgorithm::nccl ? "asked for" : "each member has a GPU of its own"};
  if (asked == GroupAlgorithm::nccl)
    return Error{Errc::unavailable,
                 fmt::format("group '{}' was asked to use NCCL: {}", group, why)};
  return Selection{false, why};
}

Result<std::unique_ptr<Group>> open(const GroupOptions& options, const Clock& clock,
                                    const NcclLoader& load) {
  const bool wanted = options.gpu != nullptr && options.algorithm != GroupAlgorithm::host;
  const auto nccl = wanted ? load() : Result<std::shared_ptr<Nccl>>(Error{Errc::unavailable, ""});
  SHOAL_ASSIGN(auto meeting, Meeting::open(options, clock));
  SHOAL_TRY(meeting->step(offer_of(options, nccl), meeting->deadline(), "open_group"));
  std::vector<Offer> offers;
  for (std::uint32_t m = 0; m < options.size; ++m) offers.push_back(meeting->note_of<Offer>(m));
  SHOAL_ASSIGN(auto selection, select(options.name, offers));
  if (!selection.nccl) return host_group(std::move(meeting), options, std::move(selection.why));
  SHOAL_ASSIGN(auto attempt, try_nccl(*meeting, **nccl, *options.gpu));
  if (attempt.communicator)
    return std::unique_ptr<Group>(
        std::make_unique<NcclGroup>(std::move(meeting), *nccl, std::move(*attempt.communicator),
                                    *options.gpu, std::move(selection.why)));
  if (options.algorithm == GroupAlgorithm::nccl)
    return Error{Errc::unavailable, fmt::format("group '{}' was asked to use NCCL: {}",
                                                options.name, attempt.why_not)};
  return host_group(std::move(meeting), options, fmt::format("NCCL failed, {}", attempt.why_not));
}

}  // namespace shoal::local

namespace shoal {

Result<std::unique_ptr<Group>> open_group(const GroupOptions& options, const Clock& clock) {
  return local::open(options, clock, [] { return local::load_nccl(); });
}

}  // namespace shoal
