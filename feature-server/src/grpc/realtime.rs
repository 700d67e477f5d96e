//! `feature_store.v1.FeatureStoreService`: names and values of one entity. It has no place for statuses, so a value
//! that could not be had fails the call: anything in its place would be taken for the truth.

use std::sync::Arc;

use futures::FutureExt;
use millrace_core::assemble::Status as ValueStatus;
use tonic::{Request, Response, Status};

use super::call::{self, Deadline, answered};
use super::value;
use crate::error::RequestError;
use crate::proto::feature_store_v1::feature_store_service_server::FeatureStoreService;
use crate::proto::feature_store_v1::{GetRealtimeFeaturesRequest, GetRealtimeFeaturesResponse};
use crate::repository::{self, Answer};
use crate::state::Shared;
use crate::{ask, names};

/// The service.
pub(super) struct Realtime {
    shared: Arc<Shared>,
}

impl Realtime {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn read(&self, request: Request<GetRealtimeFeaturesRequest>) -> Result<GetRealtimeFeaturesResponse, Status> {
        let deadline = Deadline::of(request.metadata());
        let GetRealtimeFeaturesRequest { entity_id, feature_names } = request.into_inner();
        let serving = self.shared.serving()?;
        let named = names::plan(&self.shared, &serving, &feature_names)?;
        let entity = named.plan.entity();
        let keys = vec![ask::text_key(entity, "entity_id", entity_id.clone())?];
        let request = deadline.on(repository::Request::new(named.plan.clone(), keys, None))?;
        let answer = self.shared.read(&self.shared.doors.grpc_realtime, &request).await?;
        complete(&answer, deadline)?;
        let row = answer.rows.first().filter(|row| !row.is_unknown());
        let row = row.ok_or_else(|| RequestError::NotFound(entity.name.clone()))?;
        let value = |place: &usize| value::json(row.values[*place].value.clone());
        let features = feature_names.into_iter().zip(named.places.iter().map(value)).collect();
        Ok(GetRealtimeFeaturesResponse { entity_id, features })
    }
}

/// Whether every value could be had; if not, why.
fn complete(answer: &Answer, deadline: Deadline) -> Result<(), Status> {
    let mut values = answer.rows.iter().flat_map(|row| &row.values);
    let Some(failed) = values.find(|value| value.status == ValueStatus::Error) else { return Ok(()) };
    match answer.away.first() {
        Some(_) if deadline.is_over() => Err(call::exceeded()),
        Some((_, reason)) => Err(RequestError::Unavailable(reason.clone()).into()),
        None => Err(Status::internal(failed.reason.clone().unwrap_or_default())),
    }
}

#[tonic::async_trait]
impl FeatureStoreService for Realtime {
    async fn get_realtime_features(
        &self,
        request: Request<GetRealtimeFeaturesRequest>,
    ) -> Result<Response<GetRealtimeFeaturesResponse>, Status> {
        answered(&self.shared.doors.grpc_realtime, self.read(request).boxed()).await
    }
}
