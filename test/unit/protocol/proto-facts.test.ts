/**
 * Compares proto/rpc.proto with facts on which CRIU 4.2 and every client since 2013 agree. With a difference here, a client would
 * misread our packets.
 */

import assert from 'node:assert/strict';
import { ReqType, reqTypeName } from '../../../src/protocol/messages.ts';
import { enums, type Field, type MessageType, messages } from '../../../src/protocol/schema.ts';

/** NUMBER NAME LABEL TYPE [DEFAULT] of every field; a default of an enum is its number. */
const messageFacts: Record<string, string[]> = {
  criu_page_server_info: [
    '1 address optional string',
    '2 port optional int32',
    '3 pid optional int32',
    '4 fd optional int32',
  ],
  criu_veth_pair: ['1 if_in required string', '2 if_out required string'],
  ext_mount_map: ['1 key required string', '2 val required string'],
  join_namespace: ['1 ns required string', '2 ns_file required string', '3 extra_opt optional string'],
  inherit_fd: ['1 key required string', '2 fd required int32'],
  cgroup_root: ['1 ctrl optional string', '2 path required string'],
  unix_sk: ['1 inode required uint32'],
  criu_opts: [
    '1 images_dir_fd required int32 -1',
    '2 pid optional int32',
    '3 leave_running optional bool',
    '4 ext_unix_sk optional bool',
    '5 tcp_established optional bool',
    '6 evasive_devices optional bool',
    '7 shell_job optional bool',
    '8 file_locks optional bool',
    '9 log_level optional int32 2',
    '10 log_file optional string',
    '11 ps optional criu_page_server_info',
    '12 notify_scripts optional bool',
    '13 root optional string',
    '14 parent_img optional string',
    '15 track_mem optional bool',
    '16 auto_dedup optional bool',
    '17 work_dir_fd optional int32',
    '18 link_remap optional bool',
    '19 veths repeated criu_veth_pair',
    '20 cpu_cap optional uint32 4294967295',
    '21 force_irmap optional bool',
    '22 exec_cmd repeated string',
    '23 ext_mnt repeated ext_mount_map',
    '24 manage_cgroups optional bool',
    '25 cg_root repeated cgroup_root',
    '26 rst_sibling optional bool',
    '27 inherit_fd repeated inherit_fd',
    '28 auto_ext_mnt optional bool',
    '29 ext_sharing optional bool',
    '30 ext_masters optional bool',
    '31 skip_mnt repeated string',
    '32 enable_fs repeated string',
    '33 unix_sk_ino repeated unix_sk',
    '34 manage_cgroups_mode optional criu_cg_mode',
    '35 ghost_limit optional uint32 1048576',
    '36 irmap_scan_paths repeated string',
    '37 external repeated string',
    '38 empty_ns optional uint32',
    '39 join_ns repeated join_namespace',
    '41 cgroup_props optional string',
    '42 cgroup_props_file optional string',
    '43 cgroup_dump_controller repeated string',
    '44 freeze_cgroup optional string',
    '45 timeout optional uint32',
    '46 tcp_skip_in_flight optional bool',
    '47 weak_sysctls optional bool',
    '48 lazy_pages optional bool',
    '49 status_fd optional int32',
    '50 orphan_pts_master optional bool',
    '51 config_file optional string',
    '52 tcp_close optional bool',
    '53 lsm_profile optional string',
    '54 tls_cacert optional string',
    '55 tls_cacrl optional string',
    '56 tls_cert optional string',
    '57 tls_key optional string',
    '58 tls optional bool',
    '59 tls_no_cn_verify optional bool',
    '60 cgroup_yard optional string',
    '61 pre_dump_mode optional criu_pre_dump_mode 1',
    '62 pidfd_store_sk optional int32',
    '63 lsm_mount_context optional string',
    '64 network_lock optional criu_network_lock_method 1',
    '65 mntns_compat_mode optional bool',
    '66 skip_file_rwx_check optional bool',
    '67 unprivileged optional bool',
    '68 images_dir optional string',
    '69 leave_stopped optional bool',
    '70 display_stats optional bool',
    '71 log_to_stderr optional bool',
    // From here on as in CRIU's development branch of July 2026 (go-criu 8.4.0, and a request to change that).
    '72 image_io_mode optional criu_image_io_mode 0',
    '73 compress optional uint32',
    '74 compress_acceleration optional uint32',
    '75 compress_region_size optional uint32',
    '76 decompress_threads optional uint32 1',
  ],
  criu_dump_resp: ['1 restored optional bool'],
  criu_restore_resp: ['1 pid required int32'],
  criu_notify: ['1 script optional string', '2 pid optional int32'],
  criu_features: [
    '1 mem_track optional bool',
    '2 lazy_pages optional bool',
    '3 pidfd_store optional bool',
    '4 mem_compression optional bool',
  ],
  criu_req: [
    '1 type required criu_req_type',
    '2 opts optional criu_opts',
    '3 notify_success optional bool',
    '4 keep_open optional bool',
    '5 features optional criu_features',
    '6 pid optional uint32',
  ],
  criu_resp: [
    '1 type required criu_req_type',
    '2 success required bool',
    '3 dump optional criu_dump_resp',
    '4 restore optional criu_restore_resp',
    '5 notify optional criu_notify',
    '6 ps optional criu_page_server_info',
    '7 cr_errno optional int32',
    '8 features optional criu_features',
    '9 cr_errmsg optional string',
    '10 version optional criu_version',
    '11 status optional int32',
  ],
  criu_version: [
    '1 major_number required int32',
    '2 minor_number required int32',
    '3 gitid optional string',
    '4 sublevel optional int32',
    '5 extra optional int32',
    '6 name optional string',
  ],
};

const enumFacts: Record<string, Record<string, number>> = {
  criu_cg_mode: { IGNORE: 0, CG_NONE: 1, PROPS: 2, SOFT: 3, FULL: 4, STRICT: 5, DEFAULT: 6 },
  criu_image_io_mode: { IMAGE_IO_WRITEBACK: 0, IMAGE_IO_DIRECT: 1 },
  criu_network_lock_method: { IPTABLES: 1, NFTABLES: 2, SKIP: 3 },
  criu_pre_dump_mode: { SPLICE: 1, VM_READ: 2 },
  criu_req_type: {
    EMPTY: 0,
    DUMP: 1,
    RESTORE: 2,
    CHECK: 3,
    PRE_DUMP: 4,
    PAGE_SERVER: 5,
    NOTIFY: 6,
    CPUINFO_DUMP: 7,
    CPUINFO_CHECK: 8,
    FEATURE_CHECK: 9,
    VERSION: 10,
    WAIT_PID: 11,
    PAGE_SERVER_CHLD: 12,
    SINGLE_PRE_DUMP: 13,
  },
};

/** The rpc.proto of a client of November 2013 (CRIU 0.8). */
const factsOf2013: Record<string, string[]> = {
  criu_opts: [
    '1 images_dir_fd required int32',
    '2 pid optional int32',
    '3 leave_running optional bool',
    '4 ext_unix_sk optional bool',
    '5 tcp_established optional bool',
    '6 evasive_devices optional bool',
    '7 shell_job optional bool',
    '8 file_locks optional bool',
    '9 log_level optional int32',
    '10 log_file optional string',
  ],
  criu_req: ['1 type required criu_req_type', '2 opts optional criu_opts'],
  criu_resp: [
    '1 type required criu_req_type',
    '2 success required bool',
    '3 dump optional criu_dump_resp',
    '4 restore optional criu_restore_resp',
  ],
  criu_dump_resp: ['1 restored optional bool'],
  criu_restore_resp: ['1 pid required int32'],
};

describe('rpc.proto', () => {
  for (const [name, facts] of Object.entries(messageFacts)) {
    it(`${name} has exactly the fields of CRIU 4.2`, () => {
      assert.deepEqual(describeFields(messages.get(name)), facts);
    });
  }

  for (const [name, facts] of Object.entries(enumFacts)) {
    it(`${name} has exactly the values of CRIU 4.2`, () => {
      const values = [...(enums.get(name)?.names ?? [])].map(([number, key]) => [key, number]);
      assert.deepEqual(Object.fromEntries(values), facts);
    });
  }

  it('declares only fields of CRIU', () => {
    assert.deepEqual([...messages.keys()].sort(), Object.keys(messageFacts).sort());
    assert.deepEqual([...enums.keys()].sort(), Object.keys(enumFacts).sort());
  });

  it('never uses number 40 of criu_opts, which CRIU skipped', () => {
    assert.equal(messages.get('criu_opts')?.fields.has(40), false);
  });

  it('keeps every number, type and label of the first clients', () => {
    for (const [name, facts] of Object.entries(factsOf2013)) {
      const now = describeFields(messages.get(name));
      for (const fact of facts) {
        assert.ok(
          now.some((line) => line === fact || line.startsWith(`${fact} `)),
          `${name}: ${fact}`,
        );
      }
    }
  });

  it('nests three messages deep and never in a cycle, which bounds the recursion of both decoders', () => {
    for (const message of messages.values()) assert.ok(depth(message) <= 3, message.name);
  });

  it('names every request type, and gives the number of an unknown type', () => {
    for (const [name, number] of Object.entries(enumFacts.criu_req_type ?? {})) {
      assert.equal(reqTypeName(number), name);
      assert.equal(Reflect.get(ReqType, name), number);
    }
    assert.equal(reqTypeName(14), 'type 14');
    assert.equal(reqTypeName(-1), 'type -1');
  });
});

function describeFields(message: MessageType | undefined): string[] {
  const fields = [...(message?.fields.values() ?? [])].sort((a, b) => a.number - b.number);
  return fields.map((field) =>
    [
      field.number,
      field.name,
      field.label,
      typeName(field),
      ...(field.default === undefined ? [] : [field.default]),
    ].join(' '),
  );
}

function typeName({ kind }: Field): string {
  if (kind.is === 'enum') return kind.enum.name;
  return kind.is === 'message' ? kind.message.name : kind.is;
}

function depth(message: MessageType, above: readonly MessageType[] = []): number {
  assert.ok(!above.includes(message), `${message.name} contains itself`);
  const below = [...message.fields.values()].map(({ kind }) =>
    kind.is === 'message' ? depth(kind.message, [...above, message]) : 0,
  );
  return 1 + Math.max(0, ...below);
}
