# SPDX-License-Identifier: Apache-2.0
"""The messages of Modal's protocol that its contract server uses. Names and numbers are those of the client modal 1.6.4, which the tests of
clients verify."""
from protobuf import Schema

SCHEMA = Schema("""
Empty:
ClientHelloResponse: warning=1s image_builder_version=2s
AuthTokenGetResponse: token=1s
Timestamp: seconds=1v nanos=2v
UserIdentity: user_id=1s username=2s
TokenInfoGetResponse: token_id=1s workspace_id=2s workspace_name=3s user_identity=4UserIdentity created_at=6Timestamp expires_at=7Timestamp token_name=8s
WorkspaceNameLookupResponse: workspace_name=1s username=2s
WorkspaceBillingRatesResponse: rates=1m deprecation_warnings=2m deprecation_errors=3m formatted=4s
AppGetOrCreateRequest: app_name=1s environment_name=2s object_creation_type=3v
AppGetOrCreateResponse: app_id=1s
EnvironmentGetOrCreateRequest: deployment_name=1s object_creation_type=2v
EnvironmentSettings: image_builder_version=1s webhook_suffix=2s
EnvironmentMetadata: name=1s settings=2EnvironmentSettings
EnvironmentGetOrCreateResponse: environment_id=1s metadata=2EnvironmentMetadata
BaseImage: image_id=1s docker_tag=2s
GPUConfig: type=1v count=2v gpu_type=4s
Image: base_images=5*BaseImage dockerfile_commands=6*s secret_ids=12*s context_mount_id=15s gpu_config=16GPUConfig image_registry_config=17y version=11s runtime=19s runtime_debug=20v build_function_def=14s build_function_globals=18y
ImageGetOrCreateRequest: image=2Image app_id=4s existing_image_id=5s build_function_id=6s force_build=7v namespace=8v builder_version=9s allow_global_deployment=10v ignore_cache=11v
GenericResult: status=1v exception=2s exitcode=3v traceback=4s
ImageGetOrCreateResponse: image_id=1s result=2GenericResult
ImageJoinStreamingRequest: image_id=1s timeout=2f last_entry_id=3s include_logs_for_finished=4v
TaskLogs: data=1s timestamp=7d file_descriptor=8v
ImageJoinStreamingResponse: result=1GenericResult task_logs=2*TaskLogs entry_id=3s eof=4v
SecretGetOrCreateRequest: deployment_name=1s environment_name=3s object_creation_type=4v env_dict=5m app_id=6s
SecretGetOrCreateResponse: secret_id=1s
Resources: memory_mb=2v milli_cpu=3v gpu_config=4GPUConfig memory_mb_max=5v ephemeral_disk_mb=6v milli_cpu_max=7v rdma=8v
NetworkAccess: network_access_type=1v
SandboxTag: tag_name=1s tag_value=2s
Sandbox: entrypoint_args=1*s mount_ids=2*s image_id=3s secret_ids=4*s resources=5Resources cloud_provider=6v timeout_secs=7v workdir=8s network_access=22NetworkAccess enable_snapshot=24v cloud_provider_str=26s verbose=29v name=30s idle_timeout_secs=33v direct_sandbox_commands_enabled=34v environment_variables=40y scheduler_placement=17y pty_info=15y open_ports=20y
SandboxCreateRequest: app_id=1s definition=2Sandbox environment_name=3s tags=4*SandboxTag
SandboxHandleMetadata: result=1GenericResult app_id=2s
SandboxCreateResponse: sandbox_id=1s metadata=2SandboxHandleMetadata
SandboxGetTaskIdRequest: sandbox_id=1s timeout=2f wait_until_ready=3v
SandboxGetTaskIdResponse: task_id=1s task_result=2GenericResult
SandboxWaitRequest: sandbox_id=1s timeout=2f
SandboxWaitResponse: result=1GenericResult
SandboxTerminateRequest: sandbox_id=1s
SandboxTerminateResponse: existing_result=1GenericResult
SandboxListRequest: app_id=1s before_timestamp=2d environment_name=3s include_finished=4v tags=5*SandboxTag
TaskInfo: id=1s started_at=2d finished_at=3d result=4GenericResult gpu_type=6s sandbox_id=7s
SandboxInfo: id=1s created_at=3d task_info=4TaskInfo app_id=5s tags=6*SandboxTag name=7s image_id=8s timeout_secs=11v
SandboxListResponse: sandboxes=1*SandboxInfo
SandboxGetLogsRequest: sandbox_id=1s file_descriptor=2v timeout=3f last_entry_id=4s
TaskLogsBatch: task_id=1s items=2*TaskLogs entry_id=5s eof=14v
TaskGetCommandRouterAccessRequest: task_id=1s
TaskGetCommandRouterAccessResponse: jwt=1s url=2s
TaskExecStartRequest: task_id=1s exec_id=2s command_args=3*s stdout_config=4v stderr_config=5v timeout_secs=6v workdir=7s secret_ids=8*s pty_info=9y runtime_debug=10v container_id=11s env=12m
TaskExecStdinWriteRequest: task_id=1s exec_id=2s offset=3v data=4y eof=5v
TaskExecStdioReadRequest: task_id=1s exec_id=2s offset=3v file_descriptor=4v
TaskExecStdioReadResponse: data=1y
TaskExecWaitRequest: task_id=1s exec_id=2s
TaskExecPollRequest: task_id=1s exec_id=2s
TaskExecResult: code=1v signal=2v
RPCRetryPolicy: retry_after_secs=1f
Any: type_url=1s value=2y
RPCStatus: code=1v message=2s details=3*Any
""")
