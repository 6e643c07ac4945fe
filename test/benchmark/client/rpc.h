// The few packets of proto/rpc.proto that are sent here, encoded by hand, because a measuring
// client should cost nothing itself.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum request_type { DUMP = 1, RESTORE = 2, CHECK = 3, FEATURE_CHECK = 9, VERSION = 10 };

struct packet {
  uint8_t bytes[128];
  size_t length;
};

struct options {
  int images_dir_fd;  // -1 sends no options.
  int pid;            // 0: no pid.
  bool leave_running;
  const char* log_file;
};

static inline void put_varint(struct packet* packet, uint64_t value) {
  for (; value > 127; value >>= 7) packet->bytes[packet->length++] = (uint8_t)(value | 128);
  packet->bytes[packet->length++] = (uint8_t)value;
}

static inline void put_number(struct packet* packet, unsigned field, uint64_t value) {
  put_varint(packet, field << 3);
  put_varint(packet, value);
}

static inline void put_bytes(struct packet* packet, unsigned field, const void* bytes,
                             size_t length) {
  put_varint(packet, field << 3 | 2);
  put_varint(packet, length);
  for (size_t i = 0; i < length; i++) packet->bytes[packet->length++] = ((const uint8_t*)bytes)[i];
}

static inline struct packet make_request(enum request_type type, const struct options* options) {
  struct packet request = {.length = 0};
  put_number(&request, 1, type);
  if (options->images_dir_fd >= 0) {
    struct packet inner = {.length = 0};
    put_number(&inner, 1, (uint64_t)options->images_dir_fd);
    if (options->pid) put_number(&inner, 2, (uint64_t)options->pid);
    if (options->leave_running) put_number(&inner, 3, 1);
    size_t length = 0;
    while (options->log_file[length]) length++;
    put_bytes(&inner, 10, options->log_file, length);
    put_bytes(&request, 2, inner.bytes, inner.length);
  }
  if (type == FEATURE_CHECK) {
    // criu_features: all three features of this version.
    const uint8_t features[] = {1 << 3, 1, 2 << 3, 1, 3 << 3, 1};
    put_bytes(&request, 5, features, sizeof(features));
  }
  return request;
}

// Both services send the fields in the order of their numbers: type, then success.
static inline bool succeeded(const uint8_t* answer, size_t length, enum request_type type) {
  return length >= 4 && answer[0] == 1 << 3 && answer[1] == type && answer[2] == 2 << 3 &&
         answer[3] == 1;
}
