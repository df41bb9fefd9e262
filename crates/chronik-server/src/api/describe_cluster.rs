//! DescribeCluster: v0–2. The brokers and the cluster's id.
//!
//! * v1 (KIP-919): the client says which kind of endpoint it wants. v2 (KIP-1073): fenced brokers; there are none.

use std::borrow::Cow;

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::describe_cluster_response::DescribeClusterBroker;
use chronik_protocol::messages::{DescribeClusterRequest, DescribeClusterResponse};

use super::metadata::CLUSTER_OPERATIONS;
use super::{Reply, RequestContext};

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) fn handle(cx: &RequestContext<'_>, request: DescribeClusterRequest) -> Reply {
    match request.endpoint_type {
        BROKERS => {}
        CONTROLLERS => {
            let why = "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER";
            return refuse(ErrorCode::MismatchedEndpointType, why.to_owned());
        }
        other => return refuse(ErrorCode::UnsupportedEndpointType, format!("Unsupported endpoint type {other}")),
    }
    let (broker_id, host, port) = cx.advertised();
    let rack = cx.broker.config.rack.clone().map(Cow::Owned);
    Reply::ready(DescribeClusterResponse {
        cluster_id: Cow::Owned(cx.broker.metadata.cluster_id().to_owned()),
        controller_id: broker_id,
        brokers: vec![DescribeClusterBroker { broker_id, host: Cow::Owned(host), port, rack, is_fenced: false }],
        cluster_authorized_operations: match request.include_cluster_authorized_operations {
            true => CLUSTER_OPERATIONS,
            false => i32::MIN,
        },
        ..DescribeClusterResponse::default()
    })
}

fn refuse(error: ErrorCode, message: String) -> Reply {
    Reply::ready(DescribeClusterResponse {
        error_code: error.code(),
        error_message: Some(Cow::Owned(message)),
        ..DescribeClusterResponse::default()
    })
}
