#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/base/name_filter.h"
#include "core/base/result.h"
#include "transport/verbs/api.h"
#include "transport/verbs/cards.h"

namespace shoal::verbs {

enum class LinkLayer : std::uint8_t { infiniband, roce };

/// A port of a device that can carry connections, and the GID that they use.
struct Port {
  std::string device;       ///< "mlx5_0"
  std::uint8_t number = 1;  ///< of the port on the device, from 1
  LinkLayer link_layer = LinkLayer::infiniband;
  std::uint8_t gid_index = 0;  ///< as wide as address vectors have it (ibv_global_route)
  ibv_gid gid{};
  ibv_gid_type gid_type = IBV_GID_TYPE_IB;
  std::string address;          ///< the GID as text; one that holds an IPv4 address as that
  std::string interface;        ///< the network interface of a RoCE GID; empty: not known
  std::uint32_t mtu_bytes = 0;  ///< the active one; 0: the device says nothing that is known
  double gbit_per_s = 0;        ///< of all lanes together; 0: the device says nothing that is known
  int numa_node = -1;           ///< that the device is attached to; -1: none, or not known
  bool pages_on_demand = false;  ///< READs and WRITEs may go to memory that is not pinned
};

/// "10.77.0.1", or "fe80::1".
std::string to_string(const ibv_gid& gid);

/// "rxe0 port 1 (RoCE v2 10.77.0.1, GID index 1, MTU 1024, 100 Gbit/s, NUMA 0)", without what is
/// not known.
std::string to_string(const Port& port);

/// What was found out about one port; about a whole device (`port` 0) that was not looked into; or
/// about the machine (`device` empty as well).
struct Finding {
  std::string device;
  std::uint8_t port = 0;
  /// Errors: unavailable (why the port cannot be used and what to do about it, for people; the
  /// errno if a call failed).
  Result<Port> result;
};

/// "rxe0 port 1 (...)", or "mlx5_0 port 2: why not".
std::string to_string(const Finding& finding);

/// Which devices and interfaces may be used, and how many ports at once for a peer; see Config.
struct Filters {
  NameFilter devices{NameFilter::Kind::devices};
  NameFilter interfaces{NameFilter::Kind::interfaces};
  std::size_t rails = kStrandsMax;
};

/// Looks at every port of every RDMA device of this machine, in the library's order; at least one
/// finding. Devices that `filters` leaves out are not opened.
///
/// The GID of a RoCE port is one of RoCE v2, which is routed as UDP, on an interface that `filters`
/// takes: one of an IPv4 address, else a link-local one, else any; of these the one with the lowest
/// index, at most 255, which is all that connections can name. That of an InfiniBand port has index
/// 0 (InfiniBand Architecture Specification, volume 1, 4.1.1: the GUID that the maker assigned),
/// and `filters.interfaces` has no say.
std::vector<Finding> survey(const Api& api, const Filters& filters);

}  // namespace shoal::verbs
