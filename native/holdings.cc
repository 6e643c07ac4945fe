#include "holdings.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <utility>

#include "error.h"
#include "fd.h"

namespace criu_service {
namespace {

// Limit for the descriptions of distinct things in one tree, in bytes: a hundred thousand files.
constexpr size_t kMostBytes = size_t{16} * 1024 * 1024;
// Room for as many mounts as a namespace may have (fs.mount-max), with paths of an ordinary length.
constexpr size_t kLargestFile = size_t{32} * 1024 * 1024;

constexpr std::string_view kQueued = "\nscm_fds:";

struct DirectoryCloser {
  void operator()(DIR* directory) const { ::closedir(directory); }
};
using Directory = std::unique_ptr<DIR, DirectoryCloser>;

Directory OpenDirectory(const std::string& path) { return Directory(::opendir(path.c_str())); }

// The next name in a directory. At the end: empty, with errno 0.
std::string_view NextName(const Directory& directory) {
  for (;;) {
    errno = 0;
    // Only this thread uses the stream, as readdir(3) demands.
    const dirent* entry = ::readdir(directory.get());  // NOLINT(concurrency-mt-unsafe)
    if (entry == nullptr) return {};
    const std::string_view name = static_cast<const char*>(entry->d_name);
    if (name != "." && name != "..") return name;
  }
}

std::string Joined(std::string begin, std::string_view middle, std::string_view end) {
  return begin.append(middle).append(end);
}

// An object without a path begins with its kind, as `pipe:[123]`.
bool IsPath(const std::string& target) { return target.starts_with('/'); }

int ReadLink(int directory, const std::string& link, std::string* target) {
  std::array<char, PATH_MAX> text{};
  const ssize_t length = ::readlinkat(directory, link.c_str(), text.data(), text.size());
  if (length == -1) return errno;
  target->assign(text.data(), static_cast<size_t>(length));
  return 0;
}

int ReadFile(const std::string& path, std::string* text) {
  const UniqueFd file(RetryOnSignal([&] { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC); }));
  if (!file.IsOpen()) return errno;
  std::array<char, 4096> part{};
  while (text->size() <= kLargestFile) {
    const ssize_t count =
        RetryOnSignal([&] { return ::read(file.Get(), part.data(), part.size()); });
    if (count == -1) return errno;
    if (count == 0) return 0;
    text->append(part.data(), static_cast<size_t>(count));
  }
  return EFBIG;
}

// A dead thread holds nothing, and its links lead nowhere. In stat the state follows the name,
// which may contain any byte (proc_pid_stat(5)).
bool IsDead(const std::string& thread) {
  std::string stat;
  if (ReadFile(thread + "/stat", &stat) != 0) return false;
  const size_t name_end = stat.rfind(") ");
  if (name_end == std::string::npos) return false;
  const char state = stat[name_end + 2];
  return state == 'Z' || state == 'X';
}

// Most threads of a process share one table of descriptors and one working directory, see clone(2).
bool SharesWithAny(std::vector<pid_t>* others, pid_t thread, int what) {
  for (const pid_t other : *others) {
    if (::syscall(SYS_kcmp, other, thread, what, 0UL, 0UL) == 0) return true;
  }
  others->push_back(thread);
  return false;
}

// The user_id in a mount's options, which follow ` - type source ` in /proc/self/mountinfo.
// kUnknown if there is no user_id.
int64_t UserIdOf(std::string_view options) {
  constexpr std::string_view kName = "user_id=";
  for (size_t begin = 0; begin < options.size();) {
    const size_t end = std::min(options.find(',', begin), options.size());
    const std::string option(options.substr(begin, end - begin));
    if (option.starts_with(kName)) return std::strtoll(option.c_str() + kName.size(), nullptr, 10);
    begin = end + 1;
  }
  return kUnknown;
}

int ModeOf(const std::string& access) {
  int mode = 0;
  if (access.find('r') != std::string::npos) mode |= R_OK;
  if (access.find('w') != std::string::npos) mode |= W_OK;
  if (access.find('x') != std::string::npos) mode |= X_OK;
  return mode;
}

// The process directory that a path of /proc leads into; empty for any other path.
std::string ProcessOf(const std::string& path) {
  constexpr std::string_view kProc = "/proc/";
  if (!path.starts_with(kProc)) return {};
  const size_t end = std::min(path.find('/', kProc.size()), path.size());
  const bool is_number =
      end > kProc.size() &&
      std::all_of(path.begin() + kProc.size(), path.begin() + static_cast<long>(end),
                  [](char c) { return c >= '0' && c <= '9'; });
  return is_number ? path.substr(0, end) : std::string();
}

}  // namespace

void HoldingsReader::FindProcMount() {
  struct statx there {};
  if (::statx(AT_FDCWD, "/proc", 0, STATX_MNT_ID, &there) != 0) {
    failure_ = errno;
  } else {
    proc_mount_ = there.stx_mnt_id;
  }
}

void HoldingsReader::ReadProcess(pid_t pid) {
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  const Directory directory = OpenDirectory(tasks);
  if (directory == nullptr) return AddFailure(pid, "task", errno);
  std::vector<pid_t> places;
  std::vector<pid_t> tables;
  std::string_view name;
  // All threads share one address space, so the first living thread describes it.
  for (bool is_first = true; !(name = NextName(directory)).empty() && failure_ == 0;) {
    const std::string tid(name);
    const std::string thread = Joined(tasks, "/", tid);
    Holding place(pid, "cwd", "x");
    place.failure = ReadLink(AT_FDCWD, thread + "/cwd", &place.target);
    if (place.failure == ENOENT && IsDead(thread)) continue;
    const auto number = static_cast<pid_t>(std::strtol(tid.c_str(), nullptr, 10));
    if (!SharesWithAny(&places, number, KCMP_FS)) {
      Describe(AT_FDCWD, thread + "/cwd", &place);
      Add(std::move(place));
    }
    if (!SharesWithAny(&tables, number, KCMP_FILES)) ReadDescriptors(pid, thread);
    if (!std::exchange(is_first, false)) continue;
    Holding program(pid, "exe", "x");
    program.failure = ReadLink(AT_FDCWD, thread + "/exe", &program.target);
    Describe(AT_FDCWD, thread + "/exe", &program);
    Add(std::move(program));
    // task/TID has no map_files. The directory /proc/TID of any thread has it.
    ReadMappings(pid, "/proc/" + tid);
  }
  if (name.empty() && errno != 0) AddFailure(pid, "task", errno);
}

void HoldingsReader::ReadDescriptors(pid_t pid, const std::string& thread) {
  const Directory directory = OpenDirectory(thread + "/fd");
  if (directory == nullptr) return AddFailure(pid, "fd", errno);
  std::string_view name;
  while (!(name = NextName(directory)).empty() && failure_ == 0) {
    const std::string number(name);
    Holding holding(pid, "fd/" + number);
    holding.failure = ReadLink(::dirfd(directory.get()), number, &holding.target);
    if (holding.target.starts_with("socket:")) {
      std::string information;
      holding.failure = ReadFile(Joined(thread, "/fdinfo/", number), &information);
      const size_t queued = information.find(kQueued);
      if (queued != std::string::npos) {
        holding.queued = std::strtoull(information.c_str() + queued + kQueued.size(), nullptr, 10);
      }
    }
    ReadMode(::dirfd(directory.get()), number, &holding);
    Describe(::dirfd(directory.get()), number, &holding);
    Add(std::move(holding));
  }
  if (name.empty() && errno != 0) AddFailure(pid, "fd", errno);
}

void HoldingsReader::ReadMappings(pid_t pid, const std::string& thread) {
  const Directory directory = OpenDirectory(thread + "/map_files");
  if (directory == nullptr) return AddFailure(pid, "map_files", errno);
  std::string_view name;
  while (!(name = NextName(directory)).empty() && failure_ == 0) {
    const std::string range(name);
    Holding holding(pid, "map_files/" + range);
    holding.failure = ReadLink(::dirfd(directory.get()), range, &holding.target);
    ReadMode(::dirfd(directory.get()), range, &holding);
    Describe(::dirfd(directory.get()), range, &holding);
    Add(std::move(holding));
  }
  if (name.empty() && errno != 0) AddFailure(pid, "map_files", errno);
}

// A link's permissions are the mode in which its file was opened (tid_fd_update_inode and
// proc_map_files_instantiate in fs/proc). A link without permissions is O_PATH.
void HoldingsReader::ReadMode(int directory, const std::string& link, Holding* holding) {
  if (holding->failure != 0 || !IsPath(holding->target)) return;
  struct stat link_status {};
  if (::fstatat(directory, link.c_str(), &link_status, AT_SYMLINK_NOFOLLOW) != 0) {
    holding->failure = errno;
    return;
  }
  if ((link_status.st_mode & S_IRUSR) != 0) holding->access += 'r';
  if ((link_status.st_mode & S_IWUSR) != 0) holding->access += 'w';
}

// Describes the target of the link, if it is a file with a path.
void HoldingsReader::Describe(int directory, const std::string& link, Holding* holding) {
  if (holding->failure != 0 || !IsPath(holding->target)) return;
  struct statx there {};
  const unsigned wanted = STATX_INO | STATX_UID | STATX_MNT_ID;
  const int flags = AT_STATX_DONT_SYNC;
  if (::statx(directory, link.c_str(), flags, wanted, &there) != 0) {
    holding->failure = errno;
    // Root may not read attributes of files in another user's FUSE file system, but may find out
    // which file system it is (fuse_getattr in fs/fuse/dir.c).
    if (::statx(directory, link.c_str(), flags, 0, &there) != 0) return;
  }
  holding->mount = there.stx_mnt_id;
  const int unknown = ReadMagic(directory, link, there.stx_mnt_id, &holding->magic);
  if (unknown != 0) holding->failure = unknown;
  if (holding->magic == FUSE_SUPER_MAGIC) holding->fuse_owner = FuseOwnerOf(there.stx_mnt_id);
  if ((there.stx_mask & STATX_INO) == 0 || (there.stx_mask & STATX_UID) == 0) {
    if (holding->failure == 0) holding->failure = ENODATA;
    return;
  }
  holding->file = {there.stx_dev_major, there.stx_dev_minor, there.stx_ino};
  holding->owner = there.stx_uid;
}

// Type of the file system, asked once for each mount.
int HoldingsReader::ReadMagic(int directory, const std::string& link, uint64_t mount,
                              uint64_t* magic) {
  const auto known = magics_.find(mount);
  if (known != magics_.end()) {
    *magic = known->second;
    return 0;
  }
  const UniqueFd file(::openat(directory, link.c_str(), O_PATH | O_CLOEXEC));
  struct statfs system {};
  if (!file.IsOpen() || ::fstatfs(file.Get(), &system) != 0) return errno;
  *magic = static_cast<uint64_t>(system.f_type);
  magics_.emplace(mount, *magic);
  return 0;
}

// Owner of a FUSE file system, as its mount options give it. kUnknown for a file system that is not
// mounted in the service's mount namespace.
int64_t HoldingsReader::FuseOwnerOf(uint64_t mount) {
  if (!fuse_owners_.has_value()) {
    fuse_owners_.emplace();
    std::string text;
    if (ReadFile("/proc/self/mountinfo", &text) != 0) return kUnknown;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      const std::string line = text.substr(begin, end - begin);
      const size_t options = line.rfind(' ');
      // Names in mountinfo have their blanks written as \040.
      if (line.find(" - fuse") != std::string::npos && options != std::string::npos) {
        fuse_owners_->emplace(std::strtoull(line.c_str(), nullptr, 10),
                              UserIdOf(std::string_view(line).substr(options + 1)));
      }
      begin = end + 1;
    }
  }
  const auto owner = fuse_owners_->find(mount);
  return owner == fuse_owners_->end() ? kUnknown : owner->second;
}

void HoldingsReader::AddFailure(pid_t pid, const std::string& name, int failure) {
  Holding holding(pid, name);
  holding.failure = failure;
  Add(std::move(holding));
}

// A thing that many processes hold is kept once: a tree of a thousand processes has one libc.
void HoldingsReader::Add(Holding&& holding) {
  std::string key = holding.access + '\0' + holding.target + '\0';
  const FileIdentity file = holding.file.value_or(FileIdentity{});
  for (const uint64_t each :
       {uint64_t{file.device_major}, uint64_t{file.device_minor}, file.inode, holding.mount,
        holding.queued, static_cast<uint64_t>(holding.failure)}) {
    key.append(std::to_string(each)).push_back(' ');
  }
  // An unreadable thing is kept under its holder and its own name.
  if (holding.failure != 0) key += std::to_string(holding.pid) + holding.name;
  const size_t size = key.size();
  if (!seen_.insert(std::move(key)).second) return;
  bytes_ += size;
  if (bytes_ > kMostBytes) failure_ = EFBIG;
  holdings_.push_back(std::move(holding));
}

void HoldingsReader::AskAsCaller() {
  for (Holding& holding : holdings_) {
    if (!holding.file.has_value()) continue;
    holding.path = CanOpen(holding.target, *holding.file, ModeOf(holding.access));
    if (holding.magic != PROC_SUPER_MAGIC) continue;
    const std::string process = ProcessOf(holding.target);
    if (!process.empty()) holding.process = CanLookInto(process);
  }
}

}  // namespace criu_service
