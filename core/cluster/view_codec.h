#pragma once

#include <vector>

#include "core/cluster/cluster_view.h"
#include "core/wire/codec.h"

// The pieces of views and deltas. Private to core/cluster.

namespace shoal::view_codec {

void put(Writer& out, const NodeInfo& node);
void put(Writer& out, const RosterEntry& entry);
void put(Writer& out, const TableInfo& table);
void put_parameters(Writer& out, const std::vector<ParameterChange>& parameters);

NodeInfo get_node(Reader& in);
RosterEntry get_roster_entry(Reader& in);
/// `slots_left` is what the view may still hold; lowered by the table's slots.
TableInfo get_table(Reader& in, std::size_t& slots_left);
std::vector<ParameterChange> get_parameters(Reader& in);

/// Chains travel with what differs from the chain before: whether `since` does.
class ChainWriter {
 public:
  explicit ChainWriter(Writer& out) : out_(out) {}
  void put(const SlotChain& chain);

 private:
  Writer& out_;
  Epoch since_;
};
class ChainReader {
 public:
  explicit ChainReader(Reader& in) : in_(in) {}
  SlotChain get();

 private:
  Reader& in_;
  Epoch since_;
};

/// The numbers that begin a view and, after the epoch it starts from, a delta.
void put_head(Writer& out, const ClusterView& view);
void get_head(Reader& in, ClusterView& view);

}  // namespace shoal::view_codec
