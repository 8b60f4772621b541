#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/ops/host_kernels.h"
#include "core/ops/row_kernels.h"
#include "core/ops/rule_kind.h"
#include "core/ops/update_rule.h"
#include "core/table/rule_info.h"

namespace shoal {

/// The update rules that a server knows, by name. A value that `main` builds, extends with rules of
/// its own and of plugins, and hands down; there is no global registry.
///
/// `add` is inline, so that a plugin needs no symbol of the program that loads it.
class RuleSet {
 public:
  /// assign, add, sgd, momentum, adagrad, adam, ftrl, proximal, proximal_diagonal, min, max.
  static RuleSet builtin();

  /// Adds the rule of functor F. See examples/custom_update.
  template <UpdateFunctor F>
  RuleSet& add() {
    static_assert(F::kTraits.states <= kRuleStatesMax && F::kTraits.inputs >= 1 &&
                  F::kTraits.inputs <= kInputsMax);
    return add(kRuleKind<F>);
  }
  /// `kind` must live as long as the set and every rule made from it. A name that is already there
  /// is remembered as the set's error; the first rule of that name stays.
  RuleSet& add(const RuleKind& kind) {
    for (const auto& entry : entries_)
      if (entry.kind->traits.name == kind.traits.name) {
        if (status_.ok())
          status_ = Error{Errc::exists, "there is already an update rule named '" +
                                            std::string(kind.traits.name) + "': rename one"};
        return *this;
      }
    entries_.push_back({&kind, {&kind.host_kernels(host::widest_simd()), nullptr}});
    return *this;
  }
  /// Gives a rule its form for another kind of device; CUDA's come from cuda/. Errors:
  /// unknown_name.
  Status attach(std::string_view name, DeviceKind device, const RuleKernelTable& kernels);
  /// Gives a kind of device what stores do with rows on it; the host's is there.
  void attach(DeviceKind device, const RowKernels& kernels) {
    rows_[static_cast<std::size_t>(device)] = &kernels;
  }

  /// Errc::exists if an `add` met a name that was taken. Check it after the last one.
  const Status& status() const { return status_; }
  std::vector<std::string_view> names() const;
  /// What a server that runs rules on a kind of device tells of them, in the order of names().
  std::vector<RuleInfo> infos(DeviceKind device = DeviceKind::host) const;
  /// The rule's kind, or null.
  const RuleKind* find(std::string_view name) const;
  /// Of a kind of device for which there are rules, too.
  const RowKernels& rows(DeviceKind device) const;

  /// The rule that `spec` names, with its parameters, for a table of `dtype` on a kind of device.
  /// Errors: unknown_name (rule or parameter, with the nearest), out_of_range (parameter), mismatch
  /// (inputs or aggregate differ from the rule's), unavailable (no form for this dtype or device).
  Result<UpdateRule> make(const UpdateSpec& spec, DType dtype,
                          DeviceKind device = DeviceKind::host) const;

 private:
  struct Entry {
    const RuleKind* kind;
    std::array<const RuleKernelTable*, kDeviceKindCount> kernels;
  };
  std::vector<Entry> entries_;
  std::array<const RowKernels*, kDeviceKindCount> rows_{};
  Status status_;
};

}  // namespace shoal
