//! `feature_store.v1.FeatureStoreService`: names and values of one entity. Its answers cannot express statuses, so a value
//! that could not be read fails the call: readers would take anything in its place for the true value.

use std::sync::Arc;

use futures::FutureExt;
use millrace_core::assemble::Status as ValueStatus;
use tonic::{Request, Response, Status};

use super::call::{self, Deadline, answered};
use super::value;
use crate::error::RequestError;
use crate::parse;
use crate::proto::feature_store_v1::feature_store_service_server::FeatureStoreService;
use crate::proto::feature_store_v1::{GetRealtimeFeaturesRequest, GetRealtimeFeaturesResponse};
use crate::repository::{FeatureAnswer, FeatureRequest};
use crate::server::FeatureServer;

/// The service.
pub(super) struct RealtimeApi {
    server: Arc<FeatureServer>,
}

impl RealtimeApi {
    pub(super) fn new(server: Arc<FeatureServer>) -> Self {
        Self { server }
    }

    async fn read(&self, request: Request<GetRealtimeFeaturesRequest>) -> Result<GetRealtimeFeaturesResponse, Status> {
        let deadline = Deadline::of(request.metadata());
        let GetRealtimeFeaturesRequest { entity_id, feature_names } = request.into_inner();
        let served = self.server.served()?;
        let named = served.named_plan(&feature_names)?;
        let entity = named.plan.entity();
        let keys = vec![parse::text_key(entity, "entity_id", entity_id.clone())?];
        let request = deadline.on(FeatureRequest::new(named.plan.clone(), keys, None))?;
        let answer = self.server.read(&self.server.endpoints.grpc_realtime, &request).await?;
        complete(&answer, deadline)?;
        let row = answer.rows.first().filter(|row| !row.is_unknown());
        let row = row.ok_or_else(|| RequestError::NotFound(entity.name.clone()))?;
        let value = |place: &usize| value::json(row.values[*place].value.clone());
        let features = feature_names.into_iter().zip(named.places.iter().map(value)).collect();
        Ok(GetRealtimeFeaturesResponse { entity_id, features })
    }
}

/// An error where a value could not be read, which says why.
fn complete(answer: &FeatureAnswer, deadline: Deadline) -> Result<(), Status> {
    let mut values = answer.rows.iter().flat_map(|row| &row.values);
    let Some(failed) = values.find(|value| value.status == ValueStatus::Error) else { return Ok(()) };
    match answer.unavailable.first() {
        Some(_) if deadline.is_over() => Err(call::exceeded()),
        Some((_, reason)) => Err(RequestError::Unavailable(reason.clone()).into()),
        None => Err(Status::internal(failed.reason.clone().unwrap_or_default())),
    }
}

#[tonic::async_trait]
impl FeatureStoreService for RealtimeApi {
    async fn get_realtime_features(
        &self,
        request: Request<GetRealtimeFeaturesRequest>,
    ) -> Result<Response<GetRealtimeFeaturesResponse>, Status> {
        answered(&self.server.endpoints.grpc_realtime, self.read(request).boxed()).await
    }
}
