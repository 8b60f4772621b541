#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "group/group.h"
#include "group/local/meeting.h"
#include "group/local/nccl.h"

namespace shoal::local {

/// What a member has, as it shows the others.
struct Offer {
  GroupAlgorithm algorithm = GroupAlgorithm::automatic;
  bool gpu = false;
  int nccl = 0;                     ///< version; 0: none
  std::array<char, 64> address{};   ///< of its GPU
  std::array<char, 400> missing{};  ///< why there is no NCCL, or no GPU
};

struct Selection {
  bool nccl = false;
  std::string why;
};

/// The same at all members, since all see the same offers, in order of rank. Errors: mismatch (they
/// ask for different algorithms), unavailable (NCCL was asked for).
Result<Selection> select(const std::string& group, std::span<const Offer> offers);

/// Where NCCL comes from; asked only by a member that has a GPU and may use it.
using NcclLoader = std::function<Result<std::shared_ptr<Nccl>>()>;

/// open_group() with a loader.
Result<std::unique_ptr<Group>> open(const GroupOptions& options, const Clock& clock,
                                    const NcclLoader& load);

}  // namespace shoal::local
