/** A client of CRIU, over the checkpoint service or with a private engine: `import { CriuClient } from 'criu-service'`. */
export { CriuClient, type CriuClientOptions } from './client.ts';
export { CriuError, type CriuErrorCode, type CriuErrorDetails, isCriuError } from './criu-error.ts';
export type { Directory } from './directory.ts';
export type {
  Descriptor,
  Notification,
  NotificationHandler,
  Notifications,
  QueryHandler,
} from './notifications.ts';
export type {
  CallOptions,
  CheckOptions,
  CpuinfoOptions,
  DumpOptions,
  ImageOptions,
  ManageCgroupsMode,
  PageServerAddress,
  PageServerOptions,
  RestoreOptions,
  TlsOptions,
  TreeOptions,
} from './options.ts';
export type {
  CheckResult,
  CriuFeatures,
  CriuVersion,
  DumpResult,
  PageServer,
  PreDumpRound,
  RestoreResult,
} from './results.ts';
export {
  type DumpStatistics,
  type RestoreStatistics,
  readDumpStatistics,
  readRestoreStatistics,
} from './statistics.ts';
