#include <algorithm>
#include <cstring>
#include <utility>

#include "core/base/log.h"
#include "transport/ucx/link.h"

// READs and WRITEs of memory that the peer shares with us: we copy, or look at it where it is, and
// its program does nothing.

namespace shoal::ucx {

// --- Mappings: their names are places in a table, plus one ---------------------------------------

std::uint64_t Link::map(std::uint64_t region, const SharedCard& card) {
  if (!local_) return 0;
  auto pages = ForeignPages::open(card, region, peer_turnstile_, peer_secret_);
  if (!pages.ok()) {
    log_info("ucx", "{}: its bytes go by packets", pages.error().message());
    return 0;
  }
  auto at = std::find(mapped_.begin(), mapped_.end(), nullptr);
  if (at == mapped_.end()) at = mapped_.insert(at, nullptr);
  *at = std::move(pages).value();
  return static_cast<std::uint64_t>(at - mapped_.begin()) + 1;
}

void Link::unmap(std::uint64_t mapping) {
  if (mapping != 0 && mapping <= mapped_.size()) mapped_[mapping - 1].reset();
}

std::size_t Link::mapped() const {
  return mapped_.size() -
         static_cast<std::size_t>(std::count(mapped_.begin(), mapped_.end(), nullptr));
}

/// Null: the region is gone, though its name may be another's by now.
ForeignPages* Link::find_mapped(std::uint64_t mapping, std::uint64_t region) const {
  const auto& pages = mapped_[mapping - 1];
  return pages != nullptr && pages->region() == region ? pages.get() : nullptr;
}

bool Link::read_in_place(std::uint64_t region, std::uint64_t mapping, std::uint64_t offset,
                         std::size_t bytes, const Transport::Use& use) {
  auto* pages = mapping != 0 ? find_mapped(mapping, region) : nullptr;
  const auto* from = pages != nullptr ? pages->enter(offset, bytes) : nullptr;
  if (from == nullptr) return false;
  use({from, bytes});
  pages->leave();
  return true;
}

// --- Copying -------------------------------------------------------------------------------------

/// The next pages of a WRITE. 0: what comes next is no whole page, or goes by packets from now on.
std::size_t Link::copy_out(Ring<Operation>& queue) {
  auto& operation = queue.front();
  auto* pages = find_mapped(operation);
  const auto at = operation.offset + operation.done;
  const auto rest = operation.bytes - operation.done;
  const auto bytes =
      pages != nullptr ? pages->whole_pages(at, std::min<std::uint64_t>(rest, kCopyBytes)) : 0;
  if (bytes == 0) {
    if (pages == nullptr || pages->before_page(at) == 0) operation.mapping = 0;
    return 0;
  }
  if (!pages->write(at, {operation.from + operation.done, bytes})) {
    operation.mapping = 0;
    return 0;
  }
  operation.done += bytes;
  if (operation.done < operation.bytes) return bytes;
  // Behind its packets, which may still be in UCX's hands.
  auto& sent = window_[next_++ % kWindow];
  sent.packet.kind = PacketKind::write;
  sent.from = nullptr;
  sent.taken = sent.last = true;
  sent.context = operation.context;
  queue.pop_front();
  retire();
  return bytes;
}

/// The next bytes of a READ. 0: it is asked for by packets, from its beginning.
std::size_t Link::copy_in(Ring<Operation>& queue) {
  auto& operation = queue.front();
  auto* read = find_read(operation.read);
  if (read == nullptr) {
    queue.pop_front();
    return 0;
  }
  const auto* pages = find_mapped(operation);
  const auto bytes = std::min<std::uint64_t>(operation.bytes - operation.done, kCopyBytes);
  if (pages == nullptr ||
      !pages->read(operation.offset + operation.done, {read->to.data + operation.done, bytes})) {
    operation.mapping = 0;
    operation.done = 0;
    queues_[kMessages].push_back(operation);
    queue.pop_front();
    return 0;
  }
  operation.done += bytes;
  if (operation.done < operation.bytes) return bytes;
  end_read(*read, Errc::ok);
  queue.pop_front();
  return bytes;
}

}  // namespace shoal::ucx
