/** The socket of the service on this machine (criu.socket). */
export const defaultAddress = '/run/criu-service.socket';
