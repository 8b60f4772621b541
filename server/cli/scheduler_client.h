#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/clock.h"
#include "core/base/config.h"
#include "core/base/result.h"
#include "core/cluster/cluster_view.h"
#include "core/wire/frame.h"
#include "transport/session.h"
#include "transport/transport.h"

namespace shoal::cli {

/// A session to a cluster's scheduler for the tools of people, who join nothing: one question at a
/// time. Reconnects by itself, so that an error of one question is none of the next.
class SchedulerClient {
 public:
  /// To `config.scheduler`, with `config.token_file`. `clock` outlives it. Errors:
  /// invalid_argument, io.
  static Result<SchedulerClient> create(const Config& config, const Clock& clock);

  struct Reply {
    FrameHeader header;
    std::vector<std::byte> meta;
    std::string text;
  };
  /// Asks and waits for the answer, `config.connect_timeout` long. Errors: refused (nobody listens,
  /// or another token), version, timed_out, and what the scheduler, or a server that listens there,
  /// answered if not ok, with its words.
  Result<Reply> ask(FrameKind kind, TableId table = {}, std::span<const std::byte> meta = {});

  /// The cluster's newest view. Errors: ask's, protocol; not_ready while there is none yet.
  Result<ClusterView> view();
  /// Takes a table and its rows out of the cluster. Errors: ask's.
  Status drop_table(TableId table);
  /// Says in a worker's stead that it has left: for who started its process and saw that end.
  /// Errors: ask's.
  Status leave_for(NodeId worker);

 private:
  SchedulerClient(const Config& config, const Clock& clock, std::unique_ptr<Transport> transport,
                  Session::Options options);
  Status look_at(const Incoming& incoming) const;
  void wait(TimePoint now, TimePoint until);

  std::string token_source_;
  Duration timeout_;
  const Clock* clock_;
  Address peer_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<Session> session_;  // goes before its transport
};

}  // namespace shoal::cli
