#include <sys/mman.h>

#include <algorithm>
#include <cerrno>

#include "tests/verbs/soft_objects.h"

namespace shoal::verbs::test {

namespace {

constexpr int kRemote = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;

SoftContext& owner_of(const ibv_pd* pd) { return static_cast<SoftContext&>(*pd->context); }

ibv_pd* alloc_pd(ibv_context* context) {
  auto& owner = static_cast<SoftContext&>(*context);
  if (owner.dead) return errno = EIO, nullptr;
  auto pd = std::make_unique<SoftPd>();
  pd->context = context;
  ++owner.objects;
  auto& all = owner.network().pds;
  all.push_back(std::move(pd));
  return all.back().get();
}

int dealloc_pd(ibv_pd* pd) {
  auto& soft = static_cast<SoftPd&>(*pd);
  if (soft.users > 0) return EBUSY;
  auto& owner = owner_of(pd);
  --owner.objects;
  discard(owner.network().pds, &soft);
  return 0;
}

/// The errno that forbids it; 0: none.
int refuses(SoftContext& owner, std::size_t bytes, int access) {
  auto& device = owner.owner();
  if (owner.dead) return EIO;
  if ((access & IBV_ACCESS_REMOTE_WRITE) != 0 && (access & IBV_ACCESS_LOCAL_WRITE) == 0)
    return EINVAL;
  if (device.registration_error_ != 0 && device.registrations_left_-- <= 0) {
    device.registrations_left_ = 0;
    return device.registration_error_;
  }
  if (bytes > device.options.attributes.max_mr_size) return EINVAL;
  const bool paged = (access & IBV_ACCESS_ON_DEMAND) != 0;
  if (paged && !device.options.pages_on_demand) return EOPNOTSUPP;
  if (!paged && bytes > device.options.memlock_bytes - device.registered_bytes_) return ENOMEM;
  const auto regions = owner.network().regions.size();
  return regions >= static_cast<std::size_t>(device.options.attributes.max_mr) ? ENOMEM : 0;
}

ibv_mr* add(ibv_pd* pd, std::unique_ptr<SoftMr> region) {
  auto& owner = owner_of(pd);
  auto& network = owner.network();
  region->context = pd->context;
  region->pd = pd;
  region->lkey = network.fresh_key();
  network.by_lkey[region->lkey] = region.get();
  if ((region->access & kRemote) != 0) {
    region->rkey = network.fresh_key();
    network.by_rkey[region->rkey] = region.get();
  }
  auto& device = owner.owner();
  if ((region->access & IBV_ACCESS_ON_DEMAND) != 0) {
    ++device.counts.paged_regions;
  } else {
    ++(region->mapping != nullptr ? device.counts.dma_buf_regions : device.counts.pinned_regions);
    device.registered_bytes_ += region->length;
  }
  ++owner.objects;
  ++static_cast<SoftPd*>(pd)->users;
  network.regions.push_back(std::move(region));
  return network.regions.back().get();
}

ibv_mr* reg_mr(ibv_pd* pd, void* address, std::size_t bytes, int access) {
  if (const int error = refuses(owner_of(pd), bytes, access); error != 0)
    return errno = error, nullptr;
  auto region = std::make_unique<SoftMr>();
  region->addr = address;
  region->length = bytes;
  region->memory = static_cast<std::byte*>(address);
  region->iova = reinterpret_cast<std::uintptr_t>(address);
  region->access = access;
  return add(pd, std::move(region));
}

/// Any file that can be mapped stands in for a dma-buf, such as one of memfd_create().
ibv_mr* reg_dmabuf_mr(ibv_pd* pd, std::uint64_t offset, std::size_t bytes, std::uint64_t iova,
                      int fd, int access) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  int error = refuses(owner_of(pd), bytes, access);
  if (offset % page != iova % page) error = EINVAL;
  if (error != 0) return errno = error, nullptr;
  auto region = std::make_unique<SoftMr>();
  region->mapping_bytes = bytes + offset % page;
  region->mapping = ::mmap(nullptr, region->mapping_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                           static_cast<::off_t>(offset - offset % page));
  if (region->mapping == MAP_FAILED) return nullptr;
  region->length = bytes;
  region->memory = static_cast<std::byte*>(region->mapping) + offset % page;
  region->iova = iova;
  region->access = access;
  return add(pd, std::move(region));
}

int dereg_mr(ibv_mr* mr) {
  auto& region = static_cast<SoftMr&>(*mr);
  auto& owner = owner_of(mr->pd);
  owner.network().unplug(region);
  if ((region.access & IBV_ACCESS_ON_DEMAND) == 0) owner.owner().registered_bytes_ -= region.length;
  if (region.mapping != nullptr) ::munmap(region.mapping, region.mapping_bytes);
  --owner.objects;
  --static_cast<SoftPd*>(mr->pd)->users;
  discard(owner.network().regions, &region);
  return 0;
}

/// Calls `use` with each piece of `sges` that holds some of the bytes [offset, offset + bytes).
template <class Use>
bool for_pieces(std::span<const ibv_sge> sges, std::uint64_t offset, std::uint64_t bytes, Use use) {
  std::uint64_t done = 0;
  for (const auto& sge : sges) {
    if (done == bytes) break;
    if (offset >= sge.length) {
      offset -= sge.length;
      continue;
    }
    const auto piece = std::min<std::uint64_t>(sge.length - offset, bytes - done);
    if (!use(sge, sge.addr + offset, piece, done)) return false;
    done += piece;
    offset = 0;
  }
  return done == bytes;
}

}  // namespace

void fill_memory(Api& api) {
  api.alloc_pd = &alloc_pd;
  api.dealloc_pd = &dealloc_pd;
  api.reg_mr = &reg_mr;
  api.reg_dmabuf_mr = &reg_dmabuf_mr;
  api.dereg_mr = &dereg_mr;
}

SoftMr* Network::local(const ibv_pd* pd, std::uint32_t lkey) const {
  const auto found = by_lkey.find(lkey);
  return found != by_lkey.end() && found->second->pd == pd ? found->second : nullptr;
}

namespace {

bool is_mapped(const std::byte* data, std::uint64_t bytes) {
  constexpr std::uintptr_t kPage = 4096;
  const auto begin = reinterpret_cast<std::uintptr_t>(data) / kPage * kPage;
  const auto length = reinterpret_cast<std::uintptr_t>(data) + bytes - begin;
  std::vector<unsigned char> resident(length / kPage + 1);
  return ::mincore(reinterpret_cast<void*>(begin), length, resident.data()) == 0;
}

}  // namespace

std::byte* Network::remote(const SoftQp& peer, std::uint32_t rkey, std::uint64_t address,
                           std::uint64_t bytes, int access) const {
  const auto found = by_rkey.find(rkey);
  if (found == by_rkey.end()) return nullptr;
  const auto& region = *found->second;
  if (region.pd != peer.pd || (region.access & access) == 0) return nullptr;
  auto* memory = region.at(address, bytes);
  return memory != nullptr && options.pages_may_go && !is_mapped(memory, bytes) ? nullptr : memory;
}

bool Network::gather(SoftQp& pair, std::size_t index, std::uint64_t offset,
                     std::span<std::byte> out) {
  if ((pair.queue[index].flags & IBV_SEND_INLINE) != 0) {
    std::copy_n(pair.inline_of(index) + offset, out.size(), out.begin());
    return true;
  }
  return for_pieces(
      pair.sges_of(index), offset, out.size(),
      [&](const ibv_sge& sge, std::uint64_t from, std::uint64_t bytes, std::uint64_t done) {
        const auto* region = local(pair.pd, sge.lkey);
        const auto* memory = region != nullptr ? region->at(from, bytes) : nullptr;
        if (memory == nullptr) return false;
        std::memcpy(out.data() + done, memory, bytes);
        return true;
      });
}

bool Network::scatter(const ibv_pd* pd, std::span<const ibv_sge> sges, std::uint64_t offset,
                      std::span<const std::byte> data) const {
  return for_pieces(
      sges, offset, data.size(),
      [&](const ibv_sge& sge, std::uint64_t from, std::uint64_t bytes, std::uint64_t done) {
        const auto* region = local(pd, sge.lkey);
        if (region == nullptr || (region->access & IBV_ACCESS_LOCAL_WRITE) == 0) return false;
        auto* memory = region->at(from, bytes);
        if (memory == nullptr) return false;
        std::memcpy(memory, data.data() + done, bytes);
        return true;
      });
}

}  // namespace shoal::verbs::test
